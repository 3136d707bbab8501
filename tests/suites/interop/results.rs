//! What a handler answers, and what a producer gets of it.

use jobcell_tests::Client;
use serde_json::json;

use super::rig::{Case, Scene, case, tests_of};

const EVERY: &[Client] = Client::EVERY;
const NODE: &[Client] = Client::NODE;

const CASES: &[Case] = &[
    case!(
        any_json,
        Results,
        EVERY,
        "any JSON value arrives equal in the getter and in the `completed` event"
    ),
    case!(nothing, Results, EVERY, "a handler that answers nothing gives `null`"),
    case!(large, Results, NODE, "a large result arrives whole"),
    case!(exact_text, Results, NODE, "the text of a result is stored byte for byte"),
    case!(not_json, Results, NODE, "an answer that is no JSON is a failed attempt, and stops no listener"),
    case!(before, Waiting, NODE, "`waitUntilFinished` resolves for a job that ends later"),
    case!(after, Waiting, NODE, "`waitUntilFinished` resolves for a job that has ended"),
    case!(
        rejected,
        Waiting,
        NODE,
        "`waitUntilFinished` rejects with the handler's reason, before and after the end"
    ),
    case!(
        removed,
        Waiting,
        NODE,
        "`waitUntilFinished` resolves though the job is removed at its end, when it listened before"
    ),
    case!(several, Waiting, NODE, "many producers can wait at once, each for its own job"),
];

tests_of! { CASES;
    bullmq_5_56 = Floor, bullmq_5_81 = Five, bullmq_6_7 = Six, python = Python, rust = Rust,
}

fn any_json(scene: &Scene<'_>) {
    let values = [
        json!(null),
        json!(true),
        json!(0),
        json!(-1.5),
        json!(9_007_199_254_740_991_i64),
        json!(""),
        json!("\u{0}\u{1} \u{2028} 日本語 \u{1F600} \"quoted\" \\"),
        json!([]),
        json!({}),
        json!([[], {}, [null], {"a": {"b": [1, {"c": []}]}}]),
    ];
    for value in values {
        let (id, result) = scene.outcome("echo", value.clone(), json!({}));
        assert_eq!(result, Ok(value.clone()));
        assert_eq!(scene.get(&id)["returnvalue"], value);
        assert_eq!(scene.wait_event("completed", &id)["returnvalue"], value);
    }
}

fn nothing(scene: &Scene<'_>) {
    let (id, result) = scene.outcome("logs", json!({"lines": 0}), json!({}));
    assert_eq!(result, Ok(json!(null)));
    assert_eq!(scene.hash(&id)["returnvalue"], "null");
}

fn large(scene: &Scene<'_>) {
    let (_, result) = scene.outcome("big", json!({"bytes": 500_000}), json!({}));
    let result = result.expect("a result");
    assert_eq!(result.as_str().map(str::len), Some(499_998), "the quotes are part of the text");
}

fn exact_text(scene: &Scene<'_>) {
    // Nothing on the way may parse and print it again; the payload is put there as another client would.
    let text = r#"{"price":0.10,"z":1,"a":[ ],"exact":12345678901234567890}"#;
    let id = scene.add("echo", json!(null), json!({"delay": 3_600_000}));
    scene.redis.client().run(&["HSET", &scene.key(&id), "data", text]);
    scene.job(&id, "promote", json!([]));
    assert!(scene.finished(&id).is_ok());
    assert_eq!(scene.hash(&id)["returnvalue"], text);
}

fn not_json(scene: &Scene<'_>) {
    let (id, result) = scene.outcome("not-json", json!(null), json!({"attempts": 2}));
    assert!(result.as_ref().is_err_and(|why| why.contains("not JSON")), "{result:?}");
    assert_eq!(scene.get(&id)["attemptsMade"], 2);
    let (_, result) = scene.outcome("noop", json!({"i": 1}), json!({}));
    assert_eq!(result, Ok(json!({"ok": true, "i": 1})), "the listener goes on");
    assert!(scene.seen().iter().all(|event| event["event"] != "error"), "{:?}", scene.seen());
}

fn before(scene: &Scene<'_>) {
    let id = scene.add("echo", json!({"late": true}), json!({"delay": 300}));
    let ticket = scene.bull.finish_later(scene.queue, &id);
    assert_eq!(scene.bull.answer(ticket), Ok(json!({"late": true})));
}

fn after(scene: &Scene<'_>) {
    let id = scene.add("echo", json!({"early": true}), json!({}));
    scene.wait_event("completed", &id);
    assert_eq!(scene.finished(&id), Ok(json!({"early": true})));
}

fn rejected(scene: &Scene<'_>) {
    let opts = json!({"attempts": 1});
    let id = scene.add("fail", json!({"kind": "fatal", "message": "no such donor"}), opts);
    for _ in 0..2 {
        assert_eq!(scene.finished(&id), Err("no such donor".to_owned()));
    }
}

fn removed(scene: &Scene<'_>) {
    let id = scene.add("echo", json!({"gone": true}), json!({"removeOnComplete": true, "delay": 300}));
    let ticket = scene.bull.finish_later(scene.queue, &id);
    assert_eq!(scene.bull.answer(ticket), Ok(json!({"gone": true})));
    assert!(scene.get(&id).is_null());
    let late = scene.finished(&id).expect_err("there is nothing left to wait for");
    assert!(late.contains("no job"), "{late}");
}

fn several(scene: &Scene<'_>) {
    let ids: Vec<_> = (0..20).map(|i| scene.add("noop", json!({"i": i}), json!({"delay": i * 10}))).collect();
    let tickets: Vec<_> = ids.iter().map(|id| scene.bull.finish_later(scene.queue, id)).collect();
    for (i, ticket) in tickets.into_iter().enumerate() {
        assert_eq!(scene.bull.answer(ticket), Ok(json!({"ok": true, "i": i})));
    }
}
