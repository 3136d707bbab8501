//! Deduplication: the producer's side of it, and what our worker does for it when a job ends.

use jobcell_tests::{Client, wait};
use serde_json::json;

use super::rig::{Case, Scene, case, tests_of};

const NODE: &[Client] = Client::NODE;

const CASES: &[Case] = &[
    case!(simple, Deduplication, NODE, "the id is free again as soon as its job has ended"),
    case!(simple_failed, Deduplication, NODE, "a job that failed for good frees its id too"),
    case!(
        ttl,
        Deduplication,
        NODE,
        "with a `ttl` the id stays taken until that is over, though its job has ended"
    ),
    case!(debounce, Deduplication, NODE, "with `replace` and `extend` only the last of a burst runs"),
    case!(freed, Deduplication, NODE, "`removeDeduplicationKey` frees an id whose job still runs"),
    case!(
        keep_last,
        Deduplication,
        Client::NODE_SINCE_FIVE,
        "with `keepLastIfActive` the last duplicate added while the job ran runs after it"
    ),
    case!(
        reschedule,
        Deduplication,
        &[Client::Six],
        "with `reschedule` a duplicate moves its delayed job to the new time"
    ),
];

tests_of! { CASES; bullmq_5_56 = Floor, bullmq_5_81 = Five, bullmq_6_7 = Six }

fn simple(scene: &Scene<'_>) {
    let opts = json!({"deduplication": {"id": "one"}});
    let first = scene.add("sleep", json!({"ms": 300}), opts.clone());
    assert_eq!(scene.add("noop", json!({"i": 1}), opts.clone()), first);
    assert_eq!(scene.wait_event("deduplicated", &first)["deduplicationId"], "one");
    assert!(scene.finished(&first).is_ok());
    let (second, result) = scene.outcome("noop", json!({"i": 2}), opts);
    assert_ne!(second, first);
    assert_eq!(result, Ok(json!({"ok": true, "i": 2})));
    assert_eq!(scene.completed(2).len(), 2);
}

fn simple_failed(scene: &Scene<'_>) {
    let opts = json!({"deduplication": {"id": "one"}, "attempts": 2, "backoff": 400});
    let first = scene.add("flaky", json!({"until": 9}), opts.clone());
    scene.wait_event("delayed", &first);
    assert_eq!(scene.add("noop", json!({"i": 1}), opts.clone()), first, "it still has an attempt");
    assert!(scene.finished(&first).is_err());
    assert_ne!(scene.add("noop", json!({"i": 1}), opts), first);
}

fn ttl(scene: &Scene<'_>) {
    let opts = json!({"deduplication": {"id": "one", "ttl": 900}});
    let (first, _) = scene.outcome("noop", json!({"i": 1}), opts.clone());
    assert_eq!(scene.add("noop", json!({"i": 2}), opts.clone()), first, "ended, and the id is still taken");
    let next = wait::until("the id is free", || {
        let id = scene.add("noop", json!({"i": 3}), opts.clone());
        (id != first).then_some(id)
    });
    assert_eq!(scene.finished(&next), Ok(json!({"ok": true, "i": 3})));
}

fn debounce(scene: &Scene<'_>) {
    let opts =
        json!({"delay": 500, "deduplication": {"id": "one", "ttl": 500, "extend": true, "replace": true}});
    let ids: Vec<_> = (0..3).map(|i| scene.add("noop", json!({"i": i}), opts.clone())).collect();
    assert_eq!(scene.finished(&ids[2]), Ok(json!({"ok": true, "i": 2})));
    for replaced in &ids[..2] {
        assert_eq!(scene.wait_event("removed", replaced)["prev"], "delayed");
        assert!(scene.get(replaced).is_null());
    }
    assert_eq!(scene.completed(1), ids[2..]);
}

fn freed(scene: &Scene<'_>) {
    let opts = json!({"deduplication": {"id": "one"}});
    let first = scene.add("sleep", json!({"ms": 500}), opts.clone());
    scene.wait_event("active", &first);
    assert_eq!(scene.call("getDeduplicationJobId", json!(["one"])), first);
    scene.call("removeDeduplicationKey", json!(["one"]));
    let second = scene.add("sleep", json!({"ms": 1500}), opts.clone());
    assert_ne!(second, first);
    assert!(scene.finished(&first).is_ok());
    assert_eq!(
        scene.add("noop", json!({"i": 1}), opts),
        second,
        "the end of the first frees nothing of the second"
    );
    assert!(scene.finished(&second).is_ok());
}

fn keep_last(scene: &Scene<'_>) {
    let opts = json!({"deduplication": {"id": "one", "keepLastIfActive": true}});
    let first = scene.add("sleep", json!({"ms": 400}), opts.clone());
    scene.wait_event("active", &first);
    for i in [1, 2] {
        assert_eq!(scene.add("noop", json!({"i": i}), opts.clone()), first);
    }
    let done = scene.completed(2);
    assert_eq!(done[0], first);
    let job = scene.get(&done[1]);
    assert_eq!(job["returnvalue"], json!({"ok": true, "i": 2}), "the last one wins: {job}");
    assert_eq!(scene.wait_event("deduplicated", &first)["deduplicationId"], "one");
    let (third, _) = scene.outcome("noop", json!({"i": 3}), opts);
    assert!(third != first && third != done[1], "the id is free in the end");
}

fn reschedule(scene: &Scene<'_>) {
    let opts = |delay: u32| json!({"delay": delay, "deduplication": {"id": "one", "reschedule": true}});
    let first = scene.add("noop", json!({"i": 1}), opts(3_600_000));
    assert_eq!(scene.add("noop", json!({"i": 2}), opts(300)), first);
    assert_eq!(scene.finished(&first), Ok(json!({"ok": true, "i": 1})));
}
