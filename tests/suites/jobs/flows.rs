//! Trees of jobs through the commands, and the trace context on its way through them.

use jobcell_tests::{Ran, Site};
use serde_json::{Value, json};

use crate::stage::{BASIC, Stage, capable_site, on_both_stores};

const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn grow(site: &Site, tree: &Value) -> Value {
    site.cli(&["--json", "flow", "add", &tree.to_string()]).ok().json()
}

fn id_of(tree: &Value) -> &str {
    tree["id"].as_str().unwrap_or_else(|| panic!("no id in {tree}"))
}

fn show(site: &Site, queue: &str, id: &str) -> Value {
    site.cli(&["--json", "flow", "show", queue, id]).ok().json()
}

/// Two queues, both served by the guest `basic`.
fn two_queues() -> String {
    format!("{BASIC}\n[queues.more]\nhandler = \"basic\"\n")
}

/// The headers that the job saw, by name.
fn headers(job: &Value) -> Value {
    let seen = job["returnvalue"]["headers"].as_array().unwrap_or_else(|| panic!("no headers in {job}"));
    seen.iter().map(|pair| (pair[0].as_str().expect("a name").to_owned(), pair[1].clone())).collect()
}

on_both_stores! {
    fn a_tree_is_added_shown_run_and_removed(stage: &Stage) {
        let site = stage.site(&two_queues());
        let leaf = json!({"name": "noop", "queueName": "work", "data": {"i": 1}});
        let middle = json!({"name": "count-children", "queueName": "more", "children": [leaf],
                            "opts": {"jobId": "middle", "priority": 4}});
        let tree = json!({"name": "count-children", "queueName": "work", "opts": {"attempts": 2}, "children": [middle]});
        site.write("flow.json", tree.to_string());
        let ran = site.cli(&["flow", "add", "@flow.json"]).ok().answers(&["└─ count-children  more:middle", "   └─ noop  work:"]);
        let top = ran.stdout.lines().next().and_then(|line| line.rsplit_once(':')).expect("an id").1.to_owned();

        let shown = show(&site, "work", &top);
        assert_eq!(shown["state"], "waiting-children", "{shown}");
        let middle = &shown["children"][0];
        assert_eq!((&middle["id"], &middle["queue"], &middle["state"]), (&json!("middle"), &json!("more"), &json!("waiting-children")));
        assert_eq!(middle["children"][0]["state"], "waiting", "{shown}");
        assert_eq!(site.job("work", &top)["opts"]["attempts"], 2);

        let _ = site.burst();
        let shown = show(&site, "work", &top);
        assert_eq!((&shown["state"], &shown["children"][0]["state"]), (&json!("completed"), &json!("completed")), "{shown}");
        assert_eq!(shown["children"][0]["child"], "completed", "{shown}");
        let result = site.job("work", &top)["returnvalue"].clone();
        assert_eq!(result["values"][0][0], "bull:more:middle", "{result}");

        let remove = ["job", "remove", "work", &top, "--children"];
        let _ = site.cli(&remove).exits(2).says(&["--yes", "with all jobs below it"]);
        let _ = site.cli(&[&["--yes"][..], &remove].concat()).ok();
        let _ = site.cli(&["job", "get", "more", "middle"]).exits(1);
        let _ = site.cli(&["flow", "show", "work", &top]).exits(1).says(&["does not exist"]);
    }

    fn a_tree_is_added_whole_or_not_at_all(stage: &Stage) {
        let site = stage.site(&two_queues());
        let tree = |top: &str, child: &str| json!({
            "name": "noop", "queueName": "work", "data": {"i": 1}, "opts": {"jobId": top},
            "children": [{"name": "noop", "queueName": "more", "data": {"i": 2}, "opts": {"jobId": child}}],
        });
        let piped = site.cli_with(&["flow", "add", "-"], &tree("first", "shared").to_string()).ok();
        assert!(piped.stdout.contains("work:first") && piped.stdout.contains("more:shared"), "{piped}");
        let _ = site.cli(&["flow", "add", &tree("second", "shared").to_string()]).exits(1).says(&["shared"]);
        let _ = site.cli(&["job", "get", "work", "second"]).exits(1);
        let again = grow(&site, &tree("first", "shared"));
        assert_eq!((&again["added"], &again["children"][0]["added"]), (&json!(false), &json!(false)), "{again}");
        let _ = site.burst();
        assert_eq!(site.job("work", "first")["state"], "completed");
    }

    fn a_failure_below_is_shown_where_it_happened(stage: &Stage) {
        let site = stage.site(&two_queues());
        let fatal = json!({"kind": "fatal", "message": "out of ink"});
        let tree = grow(&site, &json!({
            "name": "noop", "queueName": "work", "data": {"i": 1},
            "children": [{"name": "fail", "queueName": "more", "data": fatal, "opts": {"failParentOnFailure": true, "jobId": "kid"}}],
        }));
        let _ = site.burst();
        let job = site.job("work", id_of(&tree));
        assert_eq!((&job["state"], &job["failedReason"]), (&json!("failed"), &json!("child bull:more:kid failed")), "{job}");
        let _ = site.cli(&["flow", "show", "work", id_of(&tree)]).ok().answers(&["more:kid", "(failed)", "out of ink"]);
    }

    fn a_trace_goes_from_the_producer_through_every_job_that_comes_of_it(stage: &Stage) {
        let site = capable_site(stage, "http://127.0.0.1:9");
        let carrier = json!({"traceparent": TRACEPARENT, "tracestate": "a=1", "baggage": "user=7"});
        let tree = |id: &str, telemetry: Value| json!({
            "name": "enqueue", "queueName": "work", "opts": {"telemetry": telemetry},
            "data": {"queue": "other", "name": "job", "data": {"i": 1}, "id": id},
        });
        grow(&site, &tree("traced", json!({"metadata": carrier.to_string()})));
        grow(&site, &tree("ended", json!({"metadata": carrier.to_string(), "omitContext": true})));
        grow(&site, &tree("bare", json!({"metadata": TRACEPARENT})));
        grow(&site, &tree("opaque", json!({"metadata": "b3=1"})));
        grow(&site, &json!({
            "name": "family", "queueName": "work", "opts": {"telemetry": {"metadata": carrier.to_string()}},
            "data": {"queue": "other", "name": "job", "children": 2},
        }));
        let _ = site.burst();
        assert_eq!(headers(&site.job("other", "traced")), carrier);
        assert_eq!(headers(&site.job("other", "ended")), json!({}));
        assert_eq!(headers(&site.job("other", "bare")), json!({"traceparent": TRACEPARENT}));
        assert_eq!(headers(&site.job("other", "opaque")), json!({"telemetry": "b3=1"}));
        let list = site.cli(&["--json", "job", "list", "other", "--state", "completed"]).ok().json();
        let children: Vec<&Value> = list.as_array().expect("jobs").iter().filter(|job| job["parentKey"].is_string()).collect();
        assert_eq!(children.len(), 2, "{list}");
        assert!(children.iter().all(|job| headers(job) == carrier), "{list}");
    }

    fn a_retry_keeps_the_trace(stage: &Stage) {
        let site = stage.site(BASIC);
        let flaky = json!({"name": "flaky", "queueName": "work", "data": {"until": 3},
                           "opts": {"jobId": "kept", "attempts": 3, "telemetry": {"metadata": TRACEPARENT}}});
        grow(&site, &flaky);
        let _ = site.burst();
        let job = site.job("work", "kept");
        assert_eq!((&job["state"], &job["opts"]["tm"]), (&json!("completed"), &json!(TRACEPARENT)), "{job}");
    }
}

#[test]
fn what_is_wrong_with_a_flow_is_said() {
    let site = Site::embedded(BASIC);
    let add = |tree: &str| -> Ran { site.cli(&["flow", "add", tree]) };
    let _ = add(r#"{"name":"a","queueName":"work","opts":{"atempts":3}}"#)
        .exits(2)
        .says(&["atempts", "attempts"]);
    let _ = add(r#"{"name":"a","queue":"work"}"#).exits(2).says(&["queue"]);
    let _ = add("{").exits(2).says(&["not a flow"]);
    let _ = add("@no-such-file.json").exits(2).says(&["no-such-file.json"]);
    let both = r#"{"name":"a","queueName":"work","opts":{"failParentOnFailure":true,"ignoreDependencyOnFailure":true}}"#;
    let _ = add(both).exits(2).says(&["cannot be used together"]);
    let circle = r#"{"name":"a","queueName":"work","opts":{"jobId":"x"},"children":[{"name":"b","queueName":"work","opts":{"jobId":"x"}}]}"#;
    let _ = add(circle).exits(1).says(&["x"]);
    let counts = site.cli(&["--json", "queue", "counts", "work"]).ok().json();
    assert_eq!(counts[0]["waiting-children"], 0, "{counts}");
}
