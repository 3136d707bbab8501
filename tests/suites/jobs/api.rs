//! The HTTP API of a real host. Its rules are tested beside the code; here is what only a whole host shows.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use jobcell_tests::{Host, Site, wait};
use serde_json::{Value, json};

use crate::stage::{BASIC, Stage, on_both_stores};

fn json_of(answer: Option<(u16, String)>) -> (u16, Value) {
    let (status, body) = answer.expect("the host answers");
    (status, serde_json::from_str(&body).unwrap_or_else(|e| panic!("{e}: {body}")))
}

on_both_stores! {
    fn a_job_is_added_waited_for_and_read(stage: &Stage) {
        let site = stage.site(BASIC);
        let host = Host::start(&site);
        let body = json!({"name": "noop", "data": {"i": 1}, "opts": {"jobId": "first"}});
        let (status, answer) = json_of(host.request("POST", "/api/v1/queues/work/jobs?wait=30", &[], Some(&body)));
        assert_eq!((status, &answer["state"], &answer["id"]), (200, &json!("completed"), &json!("first")), "{answer}");
        // What the API says of a job is what the command line says of it.
        let (_, job) = json_of(host.get("/api/v1/queues/work/jobs/first"));
        assert_eq!(job["state"], "completed");
        if stage.redis.is_some() {
            assert_eq!(job, site.job("work", "first"));
        }
        let (status, list) = json_of(host.get("/api/v1/queues/work/jobs?state=completed"));
        assert_eq!((status, list["items"].as_array().map(Vec::len)), (200, Some(1)), "{list}");
        let (status, missing) = json_of(host.get("/api/v1/queues/work/jobs/second"));
        assert_eq!((status, &missing["status"]), (404, &json!(404)));
        let (status, document) = json_of(host.get("/api/v1/openapi.json"));
        assert_eq!((status, &document["openapi"]), (200, &json!("3.1.0")));
        // Who changes something is written down; adding jobs is what queues are for.
        for change in ["pause", "resume"] {
            let path = format!("/api/v1/queues/work/{change}");
            assert_eq!(host.request("POST", &path, &[], None).unwrap().0, 200, "{change}");
        }
        host.wait_log("who=\"local\"");
        host.stop();
    }
    fn updates_are_heard_as_they_happen(stage: &Stage) {
        let site = stage.site(BASIC);
        let host = Host::start(&site);
        let mut stream = TcpStream::connect(("127.0.0.1", site.port())).unwrap();
        stream.set_read_timeout(Some(wait::SOON)).unwrap();
        write!(stream, "GET /api/v1/events?tenant=acme HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
        let mut lines = BufReader::new(stream).lines().map(|line| line.expect("the stream goes on"));
        lines.find(|line| line.contains("listening")).unwrap();
        for (id, tenant) in [("ours", "acme"), ("theirs", "other")] {
            let body = json!({"name": "noop", "data": {"i": 1}, "opts": {"jobId": id, "tenant": tenant}});
            assert_eq!(host.request("POST", "/api/v1/queues/work/jobs", &[], Some(&body)).unwrap().0, 201);
        }
        let updates = lines.filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data: ")?).ok());
        let mut words = Vec::new();
        for update in updates {
            assert_eq!((&update["tenantId"], &update["jobId"]), (&json!("acme"), &json!("ours")), "{update}");
            words.push(update["event"].as_str().unwrap().to_owned());
            if update["status"] == "completed" || update["status"] == "failed" {
                break;
            }
        }
        assert_eq!(words, ["added", "waiting", "active", "completed"]);
        // A stream that is open does not keep the host.
        host.stop();
    }
}

#[test]
fn a_token_opens_the_api() {
    // The sha256 of "abc", as FIPS 180-4 gives it.
    let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let site = Site::raw("");
    site.write_config(&format!(
        "[server]\nlisten = \"127.0.0.1:{}\"\ntokens = [{{ name = \"ops\", role = \"viewer\", sha256 = \"{digest}\" }}]\n{BASIC}",
        site.port()
    ));
    let host = Host::start(&site);
    assert_eq!(host.get("/api/v1/queues").unwrap().0, 401);
    assert_eq!(host.get("/readyz").unwrap().0, 200, "probes need none");
    let token = [("authorization", "Bearer abc")];
    assert_eq!(host.request("GET", "/api/v1/queues", &token, None).unwrap().0, 200);
    let body = json!({"name": "noop"});
    let refused = host.request("POST", "/api/v1/queues/work/jobs", &token, Some(&body));
    assert_eq!(json_of(refused).0, 403);
    assert!(!host.log().iter().any(|line| line.contains("abc") && line.contains("Bearer")));
    host.stop();
}
