//! The hosts of a fleet, and what the API does while the store is away: the real program, told by the real commands.

mod schema;
mod secrets;
mod spool;

use jobcell_tests::{Host, Site, wait};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::stage::{BASIC, Stage, on_both_stores};

/// The hosts that `host ls` shows.
fn hosts(site: &Site) -> Vec<Value> {
    let listed = site.cli(&["host", "ls", "--json"]).ok().json();
    listed.as_array().unwrap().clone()
}

on_both_stores! {
    fn hosts_are_listed_go_quiet_go_on_and_stop(stage: &Stage) {
        let site = stage.site(BASIC);
        let mut host = Host::start(&site);
        let listed = wait::until("the host is listed", || Some(hosts(&site)).filter(|hosts| hosts.len() == 1));
        let (id, pid) = (listed[0]["id"].as_str().unwrap().to_owned(), host.id());
        assert_eq!((&listed[0]["phase"], &listed[0]["pid"]), (&json!("running"), &json!(pid)));
        assert_eq!(listed[0]["queues"], json!([{"name": "work", "concurrency": 4, "active": 0}]));
        assert!(listed[0]["handlers"]["basic"]["active"].as_str().unwrap().starts_with("sha256:"), "{listed:?}");
        assert!(listed[0]["memoryBytes"].as_u64().unwrap() > 1 << 20);

        let told = site.cli(&["host", "quiet", &id, "--json"]).ok().json();
        assert_eq!(told, json!([{"id": id, "order": "quiet", "done": true}]));
        assert_eq!(host.get("/readyz").unwrap().0, 503);
        let _ = site.cli(&["host", "unquiet", "--all"]).ok();
        assert_eq!(host.get("/readyz").unwrap().0, 200);
        let _ = site.cli(&["host", "quiet", "nobody"]).exits(1).says(&["nobody", &id]);

        let audit: Value = serde_json::from_str(&host.get("/api/v1/audit").unwrap().1).unwrap();
        let newest = &audit["items"][0];
        assert!(newest["action"].as_str().unwrap().ends_with("unquiet"), "{newest}");
        assert_eq!(newest["outcome"], "done");

        let figures = site.cli(&["stats", "--json", "--interval", "200ms"]).ok().json();
        assert_eq!(figures["hosts"][0]["id"], id);
        let _ = site.cli(&["host", "stop", "--all"]).ok().answers(&[&id, "gone"]);
        wait::until("the host ends", || host.code());
        // The store is free again, and whoever opens it finds nobody.
        assert!(hosts(&site).is_empty());
        assert!(!site.path().join(".jobcell/host.json").exists());
    }
}

#[test]
fn the_api_reads_the_configuration_again_or_tells_every_fault() {
    let site = Stage::embedded().site(BASIC);
    let host = Host::start(&site);
    let before = site.config();
    let (status, body) = host.request("POST", "/api/v1/reload", &[], None).unwrap();
    assert_eq!(status, 200, "{body}");
    site.write_config(&format!("{before}\n[queues.work.nonsense]\nx = 1\n[shutdown]\ngrace = \"soon\"\n"));
    let (status, body) = host.request("POST", "/api/v1/reload", &[], None).unwrap();
    assert_eq!(status, 422, "{body}");
    let problem: Value = serde_json::from_str(&body).unwrap();
    let faults = problem["details"]["faults"].as_array().unwrap();
    assert_eq!(faults.len(), 2, "{problem}");
    let told = Value::Array(faults.clone()).to_string();
    assert!(told.contains("nonsense") && told.contains("grace"), "{told}");
    assert_eq!(host.get("/readyz").unwrap().0, 200);
}

#[test]
fn a_handler_from_files_shows_what_every_host_made_of_its_own_and_what_this_one_grants() {
    let stage = Stage::redis();
    let (one, other) = (stage.site(BASIC), stage.site(&BASIC.replace("${basic}", "mine.wasm")));
    // Another build of the same: a custom section more.
    let mut build = std::fs::read(jobcell_tests::artifacts::guest("basic")).unwrap();
    build.extend([0, 6, 5]);
    build.extend(*b"build");
    other.write("mine.wasm", &build);
    let (host, beside) = (Host::start(&one), Host::start(&other));
    let shown = || -> Value { serde_json::from_str(&host.get("/api/v1/handlers/basic").unwrap().1).unwrap() };
    let handler = wait::until("both hosts are shown", || {
        Some(shown()).filter(|handler| handler["hosts"].as_array().is_some_and(|hosts| hosts.len() == 2))
    });
    let states: Vec<&Value> =
        handler["hosts"].as_array().unwrap().iter().map(|host| &host["state"]).collect();
    assert_eq!(states, [&json!("current"), &json!("lagging")], "{handler}");
    assert_eq!(handler["hosts"][1]["lag"], "its own source has another version");
    let page = host.get("/handlers/basic").unwrap().1;
    assert!(
        page.contains("Each host reads this source for itself") && page.contains("Its own source"),
        "{page}"
    );

    assert_eq!((&handler["granted"], &handler["limits"]["memoryBytes"]), (&json!([]), &json!(64 << 20)));
    one.write_config(&format!(
        "{}\nlimits = {{ memory = \"32MiB\" }}\n[handlers.basic.grants]\ncache = true\n",
        one.config()
    ));
    let (status, body) = host.request("POST", "/api/v1/reload", &[], None).unwrap();
    assert_eq!(status, 200, "{body}");
    let handler = shown();
    assert_eq!(
        (&handler["granted"], &handler["limits"]["memoryBytes"]),
        (&json!(["cache"]), &json!(32 << 20)),
        "{handler}"
    );
    beside.stop();
    host.stop();
}

#[test]
fn a_token_is_given_and_taken_away_without_a_restart() {
    let site = Stage::embedded().site(BASIC);
    let before = site.config();
    // The sha256 of `old` and of `new`.
    let tokens = |name: &str, sha256: &str| {
        let token =
            format!("[[server.tokens]]\nname = \"{name}\"\nrole = \"admin\"\nsha256 = \"{sha256}\"\n");
        site.write_config(&format!("{before}\n{token}"));
    };
    tokens("old", "cba06b5736faf67e54b07b561eae94395e774c517a7d910a54369e1263ccfbd4");
    let host = Host::start(&site);
    let ask = |token: &str, path: &str| {
        let bearer = format!("Bearer {token}");
        let method = if path.ends_with("reload") { "POST" } else { "GET" };
        host.request(method, path, &[("Authorization", &bearer)], None).unwrap()
    };
    assert_eq!((ask("old", "/api/v1/queues").0, ask("new", "/api/v1/queues").0), (200, 401));

    tokens("new", "11507a0e2f5e69d5dfa40a62a1bd7b6ee57e6bcd85c67c9b8431b36fff21c437");
    let (status, body) = ask("old", "/api/v1/reload");
    assert_eq!((status, body.contains("server")), (200, false), "{body}");
    assert_eq!((ask("old", "/api/v1/queues").0, ask("new", "/api/v1/queues").0), (401, 200));

    host.signal(Signal::HUP);
    wait::until("the audit has the signal", || {
        let audit: Value = serde_json::from_str(&ask("new", "/api/v1/audit").1).unwrap();
        let newest = &audit["items"][0];
        (newest["who"] == "signal" && newest["via"] == "signal" && newest["outcome"] == "done").then_some(())
    });
}

#[test]
fn while_redis_is_away_the_api_says_so_and_answers_what_it_can() {
    let mut stage = Stage::redis();
    let site = stage.site(BASIC);
    let host = Host::start(&site);
    stage.redis.as_mut().unwrap().down();
    let (status, body) = wait::until("the API refuses", || {
        host.request("POST", "/api/v1/queues/work/jobs", &[], Some(&json!({"name": "n"})))
            .filter(|(status, _)| *status != 201)
    });
    assert_eq!(status, 503, "{body}");
    let health: Value = serde_json::from_str(&host.get("/health").unwrap().1).unwrap();
    assert_eq!(
        (&health["redis"]["status"], &health["status"]),
        (&json!("disconnected"), &json!("unhealthy"))
    );
    assert_eq!(host.get("/livez").unwrap().0, 200);
    let listed: Value = serde_json::from_str(&host.get("/api/v1/hosts").unwrap().1).unwrap();
    assert_eq!((&listed["complete"], listed["items"].as_array().unwrap().len()), (&json!(false), 1));
    stage.redis.as_mut().unwrap().up();
    wait::until("the API accepts again", || {
        host.request("POST", "/api/v1/queues/work/jobs", &[], Some(&json!({"name": "n"})))
            .filter(|(status, _)| *status == 201)
    });
    wait::until("the host is listed again", || Some(()).filter(|()| hosts(&site).len() == 1));
}
