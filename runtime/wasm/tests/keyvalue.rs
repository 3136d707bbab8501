//! Buckets as guests see them, in both versions of the interface.

use jobcell_core::Outcome;
use jobcell_core::keyvalue::Bucket;
use jobcell_wasm::{AdmitError, Grants, HandlerRunner, Limits};
use serde_json::{Value, json};

use crate::capabilities::Host;
use crate::support::{ENGINE, admit, admitted, all_grants, attempt, by_hand_with, guest, job, run, spec};

/// Takes steps in the bucket `media` and returns what each answered.
async fn steps(host: &Host, steps: Value) -> Vec<Value> {
    match host.answer("kv", json!({"bucket": "media", "steps": steps})).await {
        Value::Array(answers) => answers,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_bucket_keeps_counts_swaps_and_forgets() {
    let host = Host::new();
    let answers = steps(
        &host,
        json!([
            {"do": "get", "key": "k"},
            {"do": "set", "key": "k", "value": "v"},
            {"do": "exists", "key": "k"},
            {"do": "get", "key": "k"},
            {"do": "increment", "key": "n", "by": 5},
            {"do": "increment", "key": "n", "by": -7},
            {"do": "swap", "key": "k", "value": "w"},
            {"do": "swap", "key": "k", "between": "x", "value": "y"},
            {"do": "swap", "key": "new", "value": "first"},
            {"do": "append", "key": "k", "text": "z"},
            {"do": "keys"},
            {"do": "delete", "key": "k"},
            {"do": "delete", "key": "k"},
            {"do": "exists", "key": "k"},
        ]),
    )
    .await;
    let swapped = json!({"lost to": "x", "again": true});
    let page = json!({"keys": ["k", "n", "new"], "cursor": null});
    assert_eq!(
        answers,
        [
            json!(null),
            json!(null),
            json!(true),
            json!("v"),
            json!(5),
            json!(-2),
            json!("done"),
            swapped,
            json!("done"),
            json!("yz"),
            page,
            json!(null),
            json!(null),
            json!(false),
        ]
    );
}

#[tokio::test]
async fn what_is_kept_is_there_for_later_jobs_and_other_handlers_of_the_tenant_only() {
    let mut host = Host::new();
    host.tenant = Some("acme".to_owned());
    steps(&host, json!([{"do": "set", "key": "k", "value": "v"}])).await;
    host.handler = "another".to_owned();
    assert_eq!(steps(&host, json!([{"do": "get", "key": "k"}])).await, [json!("v")]);
    for tenant in [None, Some(""), Some("acme2"), Some("ACME"), Some("acme:media")] {
        host.tenant = tenant.map(str::to_owned);
        let seen = steps(&host, json!([{"do": "get", "key": "k"}, {"do": "all-keys"}])).await;
        assert_eq!(seen, [json!(null), json!([])], "{tenant:?}");
    }
    let values = host.values.0.lock().unwrap();
    let kept: Vec<_> = values.keys().collect();
    assert_eq!(kept, [&(Bucket::new(Some("acme"), "media").as_str().to_owned(), "k".to_owned())]);
}

#[tokio::test]
async fn a_bucket_that_is_not_granted_is_denied_and_the_log_says_what_to_add() {
    let host = Host::new();
    let spec = spec(Limits { payload: 4 << 20, ..Limits::default() }, all_grants());
    let runner = HandlerRunner::new(&ENGINE, &admitted("capable"), spec, host.services.clone()).unwrap();
    for bucket in ["", "Media", "media ", "*", "med*", "acme:media", "../media", &"m".repeat(1 << 20)] {
        let data = json!({"bucket": bucket, "steps": []}).to_string();
        let attempt = attempt(job("kv", data));
        let report = run(&runner, &attempt).await;
        let Outcome::Fatal(reason) = report.outcome else { panic!("{bucket}: {:?}", report.outcome) };
        assert!(reason.contains("is not granted") && reason.contains("kv = ["), "{reason}");
        let logs = attempt.io.take().logs;
        assert!(logs.len() == 1 && logs[0].contains("[handlers.tested.grants]"), "{logs:?}");
        assert!(logs[0].len() < 400, "{}", logs[0].len());
        assert_eq!(host.denied.0.lock().unwrap().pop(), Some("kv"));
    }
}

#[tokio::test]
async fn buckets_have_their_limits() {
    let mut host = Host::new();
    host.limits = Limits { cache_value: 10, payload: 4 << 20, ..Limits::default() };
    let answers = steps(
        &host,
        json!([
            {"do": "set", "key": "k", "value": "12345678901"},
            {"do": "set", "key": "", "value": "v"},
            {"do": "set", "key": "k".repeat(513), "value": "v"},
            {"do": "get", "key": "k".repeat(1 << 20)},
            {"do": "set", "key": "k", "value": "word"},
            {"do": "increment", "key": "k", "by": 1},
            {"do": "keys", "cursor": "-1"},
            {"do": "keys", "cursor": "99999999999999999999"},
            {"do": "keys", "cursor": "18446744073709551615"},
        ]),
    )
    .await;
    let error = |index: usize| answers[index]["error"].as_str().unwrap_or_else(|| panic!("{answers:?}"));
    assert!(error(0).contains("limit is 10") && error(2).contains("512") && error(3).contains("512"));
    assert!(error(1).contains("empty") && error(5).contains("whole number"), "{answers:?}");
    assert!(error(6).contains("cursor") && error(7).contains("cursor"));
    assert_eq!(answers[8], json!({"keys": [], "cursor": null}));

    host.limits = Limits { cache_keys: 3, ..Limits::default() };
    let four = json!([{"do": "increment", "key": "n", "by": 1}, {"do": "fill", "count": 3, "bytes": 1}]);
    assert!(steps(&host, four).await[1]["error"].as_str().unwrap().contains("limits.cache-keys"));
    host.limits = Limits { cache_bytes: 100, ..Limits::default() };
    let bytes = json!([{"do": "fill", "count": 2, "bytes": 51}]);
    assert!(steps(&host, bytes).await[0]["error"].as_str().unwrap().contains("limits.cache-bytes"));
    // The budget is one for cache and buckets, and an attempt's own.
    host.limits = Limits { cache_keys: 3, ..Limits::default() };
    assert_eq!(steps(&host, json!([{"do": "fill", "count": 3, "bytes": 1}])).await, [json!(3)]);

    host.services.keyvalue = None;
    let data = json!({"bucket": "media", "steps": []});
    assert!(matches!(host.run("kv", data).await, Outcome::Retry { .. }));
}

#[tokio::test]
async fn a_large_bucket_is_listed_in_bounded_pages() {
    let mut host = Host::new();
    host.limits.cache_keys = 10_000;
    let filled = json!([{"do": "fill", "count": 2500, "bytes": 1}, {"do": "keys"}, {"do": "all-keys"}]);
    let answers = steps(&host, filled).await;
    assert_eq!(answers[1]["keys"].as_array().unwrap().len(), 1000);
    assert_eq!(answers[2].as_array().unwrap().len(), 2500);
}

#[tokio::test]
async fn handles_are_bounded() {
    let mut host = Host::new();
    host.limits.resources = 1;
    // The bucket is one, and what looks at a value another.
    let answers =
        steps(&host, json!([{"do": "get", "key": "k"}, {"do": "swap", "key": "k", "value": "v"}])).await;
    assert!(answers[1]["error"].as_str().unwrap().contains("limits.resources"), "{answers:?}");
}

#[test]
fn an_import_without_the_grant_is_refused_with_its_line() {
    let grants = Grants { kv: Vec::new(), ..all_grants() };
    let AdmitError::NotGranted { imports, toml, .. } = admit(&guest("capable"), grants).unwrap_err() else {
        panic!()
    };
    assert!(
        imports.iter().all(|import| import.starts_with("wasi:keyvalue/")) && imports.len() == 2,
        "{imports:?}"
    );
    assert_eq!(toml, "[handlers.tested.grants]\nkv = [\"…\"]  # or kv = [] if it is to reach nothing there");
}

/// The interface's first draft, by a guest that only knows this: it counts to 12, and lists keys by a number.
#[tokio::test]
async fn the_first_draft_of_the_interface_is_served_too() {
    let interface = r#"(import "wasi:keyvalue/store@0.2.0-draft" (instance $store
          (export "bucket" (type $bucket (sub resource)))
          (type $error' (variant (case "no-such-store") (case "access-denied") (case "other" string)))
          (export "error" (type $error (eq $error')))
          (type $page' (record (field "keys" (list string)) (field "cursor" (option u64))))
          (export "key-response" (type $page (eq $page')))
          (export "open" (func (param "identifier" string) (result (result (own $bucket) (error $error)))))
          (export "[method]bucket.list-keys" (func (param "self" (borrow $bucket)) (param "cursor" (option u64))
            (result (result $page (error $error)))))))
        (alias export $store "bucket" (type $bucket))
        (alias export $store "error" (type $error))
        (import "wasi:keyvalue/atomics@0.2.0-draft" (instance $atomics
          (alias outer 1 $bucket (type $b')) (export "bucket" (type $b (eq $b')))
          (alias outer 1 $error (type $e')) (export "error" (type $e (eq $e')))
          (export "increment" (func (param "bucket" (borrow $b)) (param "key" string) (param "delta" u64)
            (result (result u64 (error $e)))))))
        (core module $libc (memory (export "memory") 1) (data (i32.const 16) "media") (data (i32.const 32) "n")
          (global $top (mut i32) (i32.const 1024))
          (func (export "realloc") (param i32 i32 i32 i32) (result i32)
            (local $at i32)
            (local.set $at (i32.and (i32.add (global.get $top) (i32.const 7)) (i32.const -8)))
            (global.set $top (i32.add (local.get $at) (local.get 3)))
            (local.get $at)))
        (core instance $libc' (instantiate $libc))
        (core func $open (canon lower (func $store "open") (memory (core memory $libc' "memory"))
          (realloc (core func $libc' "realloc"))))
        (core func $list (canon lower (func $store "[method]bucket.list-keys")
          (memory (core memory $libc' "memory")) (realloc (core func $libc' "realloc"))))
        (core func $increment (canon lower (func $atomics "increment") (memory (core memory $libc' "memory"))
          (realloc (core func $libc' "realloc"))))
        (core instance $host (export "open" (func $open)) (export "list" (func $list))
          (export "increment" (func $increment)) (export "memory" (memory $libc' "memory")))"#;
    // Results lie at 64: a tag, then the value 4 or 8 behind it. Traps where one is not what it must be.
    let must = |what: &str| format!("(if (i32.eqz {what}) (then unreachable))");
    let call = "(call $increment (local.get 1) (i32.const 32) (i32.const 1) (i64.const 6) (i32.const 64))";
    let module = format!(
        r#"(import "host" "open" (func $open (param i32 i32 i32))) (import "host" "list" (func $list (param i32 i32 i64 i32)))
        (import "host" "increment" (func $increment (param i32 i32 i32 i64 i32))) (import "host" "memory" (memory 1))
        (export "memory" (memory 0))
        (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 4096))
        (func (export "handle") (param i32) (result i32) (local i32)
          (call $open (i32.const 16) (i32.const 5) (i32.const 64)) {open}
          (local.set 1 (i32.load (i32.const 68)))
          {call} {call} {counted}
          (call $increment (local.get 1) (i32.const 32) (i32.const 1) (i64.const -1) (i32.const 64)) {refused}
          (call $list (local.get 1) (i32.const 0) (i64.const 0) (i32.const 64)) {listed}
          (call $list (local.get 1) (i32.const 1) (i64.const 1) (i32.const 64)) {ended}
          (i32.const 2048))"#,
        open = must("(i32.eqz (i32.load8_u (i32.const 64)))"),
        counted = must("(i64.eq (i64.load (i32.const 72)) (i64.const 12))"),
        refused = must("(i32.load8_u (i32.const 64))"),
        // One key, and no cursor to go on from.
        listed = must("(i32.eq (i32.load (i32.const 76)) (i32.const 1))")
            + &must("(i32.eqz (i32.load8_u (i32.const 80)))"),
        ended = must("(i32.eqz (i32.load (i32.const 76)))"),
    );
    let component = by_hand_with(interface, r#"(with "host" (instance $host))"#, &module);
    let host = Host::new();
    let grants = Grants { kv: vec!["media".to_owned()], ..Grants::default() };
    let admitted = admit(&component, grants.clone()).unwrap();
    let runner =
        HandlerRunner::new(&ENGINE, &admitted, spec(Limits::default(), grants), host.services.clone())
            .unwrap();
    let report = run(&runner, &attempt(job("any", "{}"))).await;
    assert!(matches!(report.outcome, Outcome::Complete(_)), "{report:?}");
    assert_eq!(host.values.0.lock().unwrap()[&(":media".to_owned(), "n".to_owned())], "12");
}
