//! `replay`: recorded attempts once more, and that nothing of them is done twice.

use jobcell_tests::{Answer, Receiver, Site};
use serde_json::{Value, json};

use crate::stage::{BASIC, Stage, capable, on_both_stores};

fn recording(which: &str) -> String {
    BASIC.replace("source = ", &format!("record = \"{which}\"\nsource = "))
}

fn replayed(site: &Site, id: &str, more: &[&str]) -> (Option<i32>, Value) {
    let ran = site.cli(&[&["--json", "replay", "work", id], more].concat());
    (ran.code, ran.json())
}

on_both_stores! {
    fn a_failed_attempt_runs_again_as_it_was(stage: &Stage) {
        let site = stage.site(&recording("failed"));
        let id = site.enqueue("work", "flaky", &json!({"until": 3}), &["--attempts", "5"]);
        let good = site.enqueue("work", "now", &json!({}), &[]);
        let _ = site.burst();
        // Two attempts failed; the third completed and was not kept.
        let (code, last) = replayed(&site, &id, &[]);
        assert_eq!((code, &last["attempt"], &last["agrees"]), (Some(1), &json!(2), &json!(true)), "{last}");
        assert_eq!((&last["recorded"]["outcome"], &last["replayed"]["outcome"]), (&json!("retry"), &json!("retry")));
        assert_eq!(last["recorded"]["reason"], last["replayed"]["reason"]);
        assert_eq!(last["recorded"]["version"], last["replayed"]["version"]);
        let (_, first) = replayed(&site, &id, &["--attempt", "1"]);
        assert_eq!((&first["attempt"], &first["agrees"]), (&json!(1), &json!(true)), "{first}");
        let _ = site.cli(&["replay", "work", &id, "--attempt", "3"]).exits(1).says(&["attempt 3", "are 1, 2"]);
        let shown = site.cli(&["replay", "work", &id]).exits(1);
        let _ = shown.answers(&["attempt 2", "recorded  retry", "basic@", "agrees"]);
        let _ = site.cli(&["replay", "work", &good]).exits(1).says(&["is recorded", "record = \"failed\""]);
        assert_eq!(site.job("work", &id)["attemptsMade"], json!(3), "a replay is no attempt");
    }

    fn time_stands_still_and_another_component_is_compared(stage: &Stage) {
        let site = stage.site(&recording("all"));
        let id = site.enqueue("work", "now", &json!({}), &[]);
        let _ = site.burst();
        let (code, again) = replayed(&site, &id, &[]);
        assert_eq!((code, &again["agrees"]), (Some(0), &json!(true)), "{again}");
        assert_eq!(again["recorded"]["result"], again["replayed"]["result"]);
        assert_eq!(again["recorded"]["result"], site.job("work", &id)["returnvalue"]);
        // Another handler does not know this kind of job.
        let other = jobcell_tests::artifacts::guest("settings").display().to_string();
        let (code, other) = replayed(&site, &id, &["--with", &other]);
        assert_eq!((code, &other["agrees"]), (Some(1), &json!(false)), "{other}");
        assert!(other["differences"][0].as_str().unwrap().starts_with("outcome: completed, and now"), "{other}");
        let _ = site.cli(&["replay", "work", &id, "--with", "nowhere.wasm"]).exits(2).says(&["nowhere.wasm"]);
    }
}

#[test]
fn what_was_sent_is_not_sent_again_and_no_secret_is_kept() {
    let stage = Stage::redis();
    let receiver = Receiver::start([Answer::new(200).body("ok")]);
    let config =
        capable(&receiver.url()).replace("[handlers.capable]\n", "[handlers.capable]\nrecord = \"all\"\n");
    let site = stage.site(&config).env("TEST_KEY", "a key that no handler sees");
    site.write("open.txt", "sesame-sesame");
    site.write("files/.keep", "");
    let fetch =
        json!({"url": format!("{}/a", receiver.url()), "method": "POST", "body": "b", "bearer": "key"});
    let fetched = site.enqueue("work", "fetch", &fetch, &[]);
    let held = site.enqueue("work", "hold", &json!({"key": "k", "value": "v"}), &[]);
    let shown = site.enqueue("work", "reveal", &json!("open"), &[]);
    let _ = site.burst();
    let calls = receiver.heard().len();
    assert!(calls > 0);
    for id in [&fetched, &held, &shown] {
        let (code, again) = replayed(&site, id, &[]);
        assert_eq!(
            (code, &again["agrees"], &again["diverged"]),
            (Some(0), &json!(true), &json!(0)),
            "{again}"
        );
    }
    assert_eq!(receiver.heard().len(), calls, "somebody was called");
    let mut client = stage.redis.as_ref().unwrap().client();
    let keys = client.run(&["KEYS", "*log:recordings:*"]).texts();
    assert_eq!(keys.len(), 1, "{keys:?}");
    let dump = format!("{:?}", client.run(&["XRANGE", &keys[0], "-", "+"]));
    for secret in ["a key that no handler sees", "sesame", "jobcell-secret-"] {
        assert!(!dump.contains(secret), "{secret}: {dump}");
    }
}
