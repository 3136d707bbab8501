//! Trees of jobs: made by one side, run by the other, read and taken apart by either.

use std::collections::BTreeSet;

use jobcell_tests::{Client, wait};
use serde_json::{Value, json};

use super::rig::{Case, Scene, UNSERVED, case, tests_of};

const NODE: &[Client] = Client::NODE;

/// Each case has a second queue, named after its own.
macro_rules! two_queues {
    ($name:literal) => {
        concat!("concurrency = 4\n[queues.", $name, "-2]\nhandler = \"basic\"")
    };
}

const CASES: &[Case] = &[
    case!(
        levels,
        Flows,
        NODE,
        "a tree of three levels over two queues runs from its leaves up; the handler and `getChildrenValues` see the results",
        two_queues!("levels")
    ),
    case!(
        dependencies,
        Flows,
        NODE,
        "`getDependencies` and `getDependenciesCount` tell what a parent waits for and what is done",
        two_queues!("dependencies")
    ),
    case!(whole_tree, Flows, NODE, "`getFlow` gives the tree of a finished flow", two_queues!("whole_tree")),
    case!(
        held,
        Flows,
        NODE,
        "a child that fails without a policy holds its parent until it is retried with success"
    ),
    case!(
        fails_parent,
        Flows,
        NODE,
        "`failParentOnFailure` fails parent and grandparent, each with `child … failed`"
    ),
    case!(
        continues,
        Flows,
        NODE,
        "`continueParentOnFailure` runs the parent at once, which sees the failure"
    ),
    case!(
        continues_early,
        Flows,
        NODE,
        "a parent that went on and completes before its other children fails with `pending dependencies`"
    ),
    case!(
        ignores,
        Flows,
        NODE,
        "`ignoreDependencyOnFailure` runs the parent after the others; the failure can be read"
    ),
    case!(
        removes_dependency,
        Flows,
        NODE,
        "`removeDependencyOnFailure` runs the parent without a trace of the child"
    ),
    case!(placed, Flows, NODE, "a released parent waits for its delay, or at its priority"),
    case!(adopted, Flows, NODE, "a job that exists becomes a child; one that is done brings its result"),
    case!(leaves, Flows, NODE, "`removeChildDependency` releases the parent"),
    case!(prunes, Flows, NODE, "`removeUnprocessedChildren` releases the parent"),
    case!(
        removed_by_client,
        Flows,
        NODE,
        "`remove` with its children takes a tree away that `jobcell flow add` made",
        two_queues!("removed_by_client")
    ),
    case!(
        removed_by_us,
        Flows,
        NODE,
        "`jobcell job remove --children` takes a tree away that `FlowProducer` made",
        two_queues!("removed_by_us")
    ),
    case!(
        run_by_client,
        Flows,
        NODE,
        "a tree that `jobcell flow add` made is run by BullMQ's own workers",
        UNSERVED
    ),
    case!(
        shown,
        Flows,
        NODE,
        "`jobcell flow show` shows a tree of `FlowProducer` with its states",
        two_queues!("shown")
    ),
];

tests_of! { CASES; bullmq_5_56 = Floor, bullmq_5_81 = Five, bullmq_6_7 = Six }

impl Scene<'_> {
    /// A job of a tree in the queue of the case.
    fn node(&self, name: &str, data: Value, opts: Value, children: Value) -> Value {
        json!({"name": name, "queueName": self.queue, "data": data, "opts": opts, "children": children})
    }

    fn other(&self) -> String {
        format!("{}-2", self.queue)
    }

    /// `FlowProducer.add`.
    #[track_caller]
    fn grow(&self, tree: Value) -> Value {
        self.bull.call(json!({"on": "flow", "tree": tree}))
    }

    /// `jobcell flow add`.
    #[track_caller]
    fn grow_ours(&self, tree: &Value) -> Value {
        self.site.cli(&["--json", "flow", "add", &tree.to_string()]).ok().json()
    }

    /// A tree of a job that answers what became of its one child, and that child, which fails for good.
    #[track_caller]
    fn unlucky(&self, policy: &str) -> (String, String) {
        let fatal = json!({"kind": "fatal", "message": "out of ink"});
        let child = self.node("fail", fatal, json!({policy: true, "delay": 100}), json!([]));
        let tree = self.grow(self.node("count-children", json!({}), json!({}), json!([child])));
        (id_of(&tree), id_of(&tree["children"][0]))
    }
}

#[track_caller]
fn id_of(node: &Value) -> String {
    node["job"]["id"].as_str().unwrap_or_else(|| panic!("no id in {node}")).to_owned()
}

fn levels(scene: &Scene<'_>) {
    let leaf = scene.node("noop", json!({"i": 1}), json!({}), json!([]));
    let mut middle = scene.node("count-children", json!({}), json!({"priority": 2}), json!([leaf]));
    middle["queueName"] = scene.other().into();
    let tree = scene.grow(scene.node("count-children", json!({}), json!({}), json!([middle])));
    let (top, middle) = (id_of(&tree), id_of(&tree["children"][0]));
    let leaf = id_of(&tree["children"][0]["children"][0]);
    let result = scene.finished(&top).expect("a result");
    let middle_key = format!("bull:{}:{middle}", scene.other());
    let value = result["values"][0].as_array().expect("one child").clone();
    assert_eq!(value[0], middle_key);
    let below: Value = serde_json::from_str(value[1].as_str().expect("text")).expect("JSON");
    assert_eq!(below["values"][0][0], format!("bull:{}:{leaf}", scene.queue), "{below}");
    assert_eq!(scene.job(&top, "getChildrenValues", json!([]))[&middle_key], below);
    assert_eq!(scene.life(&top), ["added", "waiting-children", "waiting", "active", "completed"]);
}

fn dependencies(scene: &Scene<'_>) {
    let quick = scene.node("noop", json!({"i": 1}), json!({"jobId": "quick"}), json!([]));
    let mut later =
        scene.node("noop", json!({"i": 2}), json!({"jobId": "later", "delay": 3_600_000}), json!([]));
    later["queueName"] = scene.other().into();
    let top = id_of(&scene.grow(scene.node("noop", json!({"i": 3}), json!({}), json!([quick, later]))));
    scene.finished("quick").expect("a result");
    let told = scene.job(&top, "getDependencies", json!([]));
    assert_eq!(told["processed"][scene.key("quick")], json!({"ok": true, "i": 1}), "{told}");
    assert_eq!(told["unprocessed"], json!([format!("bull:{}:later", scene.other())]), "{told}");
    let counts = scene.job(&top, "getDependenciesCount", json!([]));
    assert_eq!((&counts["processed"], &counts["unprocessed"]), (&json!(1), &json!(1)), "{counts}");
    scene.bull.job(&scene.other(), "later", "promote", json!([]));
    scene.finished(&top).expect("a result");
    let counts = scene.job(&top, "getDependenciesCount", json!([]));
    assert_eq!((&counts["processed"], &counts["unprocessed"]), (&json!(2), &json!(0)), "{counts}");
}

fn whole_tree(scene: &Scene<'_>) {
    let leaf = scene.node("noop", json!({"i": 1}), json!({"jobId": "leaf"}), json!([]));
    let mut middle = scene.node("noop", json!({"i": 2}), json!({"jobId": "middle"}), json!([leaf]));
    middle["queueName"] = scene.other().into();
    let top = id_of(&scene.grow(scene.node("noop", json!({"i": 3}), json!({}), json!([middle]))));
    scene.finished(&top).expect("a result");
    let asked = json!({"id": top, "queueName": scene.queue});
    let tree = scene.bull.call(json!({"on": "flow", "method": "getFlow", "tree": asked}));
    assert_eq!(tree["job"]["returnvalue"]["i"], 3, "{tree}");
    let middle = &tree["children"][0];
    assert_eq!(
        (&middle["job"]["id"], &middle["job"]["returnvalue"]["i"]),
        (&json!("middle"), &json!(2)),
        "{tree}"
    );
    assert_eq!(middle["children"][0]["job"]["id"], "leaf", "{tree}");
}

fn held(scene: &Scene<'_>) {
    let child = scene.node("flaky", json!({"until": 2}), json!({"jobId": "kid"}), json!([]));
    let top = id_of(&scene.grow(scene.node("count-children", json!({}), json!({}), json!([child]))));
    scene.wait_event("failed", "kid");
    assert_eq!(scene.state(&top), "waiting-children");
    scene.job("kid", "retry", json!(["failed"]));
    let result = scene.finished(&top).expect("a result");
    assert_eq!(result["values"], json!([[scene.key("kid"), "2"]]), "{result}");
}

fn fails_parent(scene: &Scene<'_>) {
    let fatal = json!({"kind": "fatal", "message": "out of ink"});
    let strict = |id: &str| json!({"jobId": id, "failParentOnFailure": true, "attempts": 3});
    let leaf = scene.node("fail", fatal, strict("leaf"), json!([]));
    let later = scene.node("noop", json!({"i": 1}), json!({"delay": 3_600_000}), json!([]));
    let middle = scene.node("noop", json!({"i": 2}), strict("middle"), json!([leaf, later]));
    let top = scene.node("noop", json!({"i": 3}), json!({"jobId": "top", "attempts": 3}), json!([middle]));
    scene.grow(top);
    for (id, child) in [("middle", "leaf"), ("top", "middle")] {
        let expected = format!("child {} failed", scene.key(child));
        assert_eq!(scene.finished(id).unwrap_err(), expected);
        let job = scene.get(id);
        assert_eq!((&job["failedReason"], &job["attemptsMade"]), (&json!(expected), &json!(1)), "{job}");
        assert!(!scene.hash(id).contains_key("defa"));
        assert!(!scene.life(id).contains(&"retries-exhausted".to_owned()), "attempts were left");
    }
    if scene.client != Client::Floor {
        let counts =
            scene.job("middle", "getDependenciesCount", json!([{"failed": true, "unprocessed": true}]));
        assert_eq!((&counts["failed"], &counts["unprocessed"]), (&json!(1), &json!(1)), "{counts}");
    }
}

fn continues(scene: &Scene<'_>) {
    let (top, child) = scene.unlucky("continueParentOnFailure");
    let result = scene.finished(&top).expect("a result");
    assert_eq!(result["failures"], json!([[scene.key(&child), "out of ink"]]), "{result}");
    let told = scene.job(&top, "getFailedChildrenValues", json!([]));
    assert_eq!(told, json!({scene.key(&child): "out of ink"}));
}

fn continues_early(scene: &Scene<'_>) {
    let fatal = json!({"kind": "fatal", "message": "out of ink"});
    let unlucky = scene.node("fail", fatal, json!({"continueParentOnFailure": true}), json!([]));
    let later = scene.node("noop", json!({"i": 1}), json!({"jobId": "later", "delay": 3_600_000}), json!([]));
    let top = id_of(&scene.grow(scene.node("noop", json!({"i": 2}), json!({}), json!([unlucky, later]))));
    let why = scene.finished(&top).unwrap_err();
    assert!(why.contains(&format!("Job {top} has pending dependencies")), "{why}");
    // Once the other is done it can be tried again.
    scene.job("later", "promote", json!([]));
    scene.finished("later").expect("a result");
    scene.job(&top, "retry", json!(["failed"]));
    scene.wait_state(&top, "completed");
}

fn ignores(scene: &Scene<'_>) {
    let (top, child) = scene.unlucky("ignoreDependencyOnFailure");
    let result = scene.finished(&top).expect("a result");
    assert_eq!(result["failures"], json!([[scene.key(&child), "out of ink"]]), "{result}");
    let getter =
        if scene.client == Client::Floor { "getFailedChildrenValues" } else { "getIgnoredChildrenFailures" };
    assert_eq!(scene.job(&top, getter, json!([])), json!({scene.key(&child): "out of ink"}));
}

fn removes_dependency(scene: &Scene<'_>) {
    let (top, child) = scene.unlucky("removeDependencyOnFailure");
    let result = scene.finished(&top).expect("a result");
    assert_eq!(result, json!({"values": [], "failures": []}));
    assert_eq!(scene.state(&child), "failed");
}

fn placed(scene: &Scene<'_>) {
    let child = |i: u64| scene.node("noop", json!({"i": i}), json!({}), json!([]));
    let late = scene.node("noop", json!({"i": 1}), json!({"jobId": "late", "delay": 600}), json!([child(2)]));
    let low = scene.node("noop", json!({"i": 3}), json!({"jobId": "low", "priority": 7}), json!([child(4)]));
    scene.grow(late);
    scene.grow(low);
    scene.wait_event("delayed", "late");
    scene.finished("late").expect("a result");
    scene.finished("low").expect("a result");
    let job = scene.get("late");
    let waited = job["processedOn"].as_u64().zip(job["timestamp"].as_u64()).map(|(start, made)| start - made);
    assert!(waited >= Some(600), "{job}");
    assert_eq!(
        scene.life("late"),
        ["added", "waiting-children", "delayed", "waiting", "active", "completed"]
    );
    assert_eq!(scene.get("low")["priority"], 7);
}

fn adopted(scene: &Scene<'_>) {
    scene.outcome("noop", json!({"i": 1}), json!({"jobId": "done"})).1.expect("a result");
    scene.add("noop", json!({"i": 2}), json!({"jobId": "later", "delay": 3_600_000}));
    let again = |id: &str| scene.node("noop", json!({"i": 9}), json!({"jobId": id}), json!([]));
    let tree = scene.node(
        "count-children",
        json!({}),
        json!({"jobId": "top"}),
        json!([again("done"), again("later")]),
    );
    scene.grow_ours(&tree);
    assert_eq!(scene.state("top"), "waiting-children");
    scene.job("later", "promote", json!([]));
    let result = scene.finished("top").expect("a result");
    let results: BTreeSet<&str> =
        result["values"].as_array().expect("values").iter().filter_map(|pair| pair[1].as_str()).collect();
    assert_eq!(results, BTreeSet::from([r#"{"ok":true,"i":1}"#, r#"{"ok":true,"i":2}"#]), "{result}");
}

fn leaves(scene: &Scene<'_>) {
    let later = scene.node("noop", json!({"i": 1}), json!({"jobId": "later", "delay": 3_600_000}), json!([]));
    let top = scene.grow_ours(&scene.node("noop", json!({"i": 2}), json!({}), json!([later])));
    assert_eq!(scene.job("later", "removeChildDependency", json!([])), true);
    scene.finished(top["id"].as_str().expect("an id")).expect("a result");
    // The floor leaves the names of the parent with the job.
    if scene.client != Client::Floor {
        assert!(scene.get("later")["parentKey"].is_null());
    }
}

fn prunes(scene: &Scene<'_>) {
    let later = scene.node("noop", json!({"i": 1}), json!({"jobId": "later", "delay": 3_600_000}), json!([]));
    let top = scene.grow_ours(&scene.node("noop", json!({"i": 2}), json!({}), json!([later])));
    let top = top["id"].as_str().expect("an id");
    scene.job(top, "removeUnprocessedChildren", json!([]));
    scene.finished(top).expect("a result");
    assert!(scene.get("later").is_null());
}

/// A tree of which a part is done, a part has failed, and a part waits.
fn half_done(scene: &Scene<'_>) -> Value {
    let fatal = json!({"kind": "fatal", "message": "out of ink"});
    let mild = json!({"jobId": "mild", "ignoreDependencyOnFailure": true});
    let mut later =
        scene.node("noop", json!({"i": 1}), json!({"jobId": "later", "delay": 3_600_000}), json!([]));
    later["queueName"] = scene.other().into();
    let children = json!([
        scene.node("noop", json!({"i": 1}), json!({"jobId": "done"}), json!([])),
        scene.node("fail", fatal, mild, json!([])),
        scene.node("noop", json!({"i": 1}), json!({"jobId": "middle"}), json!([later])),
    ]);
    scene.node("noop", json!({"i": 2}), json!({"jobId": "top"}), children)
}

#[track_caller]
fn wait_half_done(scene: &Scene<'_>) {
    scene.wait_state("done", "completed");
    scene.wait_state("mild", "failed");
}

#[track_caller]
fn nothing_is_left(scene: &Scene<'_>) {
    for id in ["top", "done", "mild", "middle"] {
        assert!(scene.get(id).is_null(), "{id}");
    }
    assert!(scene.bull.get(&scene.other(), "later").is_null());
    let mut redis = scene.redis.client();
    let keys = redis.run(&["KEYS", &format!("bull:{}*:*:*", scene.queue)]);
    assert!(!format!("{keys:?}").contains("dependencies"), "{keys:?}");
    for state in ["waiting", "completed", "failed", "delayed", "waiting-children"] {
        assert_eq!(scene.count(state), 0, "{state}");
    }
}

fn removed_by_client(scene: &Scene<'_>) {
    scene.grow_ours(&half_done(scene));
    wait_half_done(scene);
    scene.job("top", "remove", json!([{"removeChildren": true}]));
    nothing_is_left(scene);
}

fn removed_by_us(scene: &Scene<'_>) {
    scene.grow(half_done(scene));
    wait_half_done(scene);
    let running = scene.node("sleep", json!({"ms": 1500}), json!({"jobId": "running"}), json!([]));
    scene.grow(scene.node("noop", json!({"i": 3}), json!({"jobId": "top"}), json!([running])));
    scene.wait_event("active", "running");
    let args = ["--yes", "job", "remove", scene.queue, "top", "--children"];
    let _ = scene.site.cli(&args).exits(1).says(&["running"]);
    scene.wait_state("running", "completed");
    let _ = scene.site.cli(&args).ok();
    assert!(scene.get("running").is_null());
    nothing_is_left(scene);
    wait::until("a removal is told", || scene.life("top").contains(&"removed".to_owned()).then_some(()));
}

fn run_by_client(scene: &Scene<'_>) {
    let leaf = scene.node("work", json!({"i": 1}), json!({}), json!([]));
    let late = scene.node("work", json!({"i": 2}), json!({"delay": 50, "priority": 3}), json!([]));
    let mut middle = scene.node("work", json!({"i": 3}), json!({}), json!([leaf, late]));
    middle["queueName"] = scene.other().into();
    let tree = scene.grow_ours(&scene.node("work", json!({"i": 4}), json!({"attempts": 2}), json!([middle])));
    let (top, middle) =
        (tree["id"].as_str().expect("an id"), tree["children"][0]["id"].as_str().expect("an id"));
    scene.bull.work(scene.queue, json!({}));
    scene.bull.work(&scene.other(), json!({}));
    assert_eq!(scene.finished(top), Ok(json!({"by": "node", "i": 4})));
    let values = scene.job(top, "getChildrenValues", json!([]));
    assert_eq!(values, json!({format!("bull:{}:{middle}", scene.other()): {"by": "node", "i": 3}}));
    let below = scene.bull.job(&scene.other(), middle, "getChildrenValues", json!([]));
    assert_eq!(below.as_object().map(serde_json::Map::len), Some(2), "{below}");
}

fn shown(scene: &Scene<'_>) {
    scene.grow(half_done(scene));
    wait_half_done(scene);
    let tree = scene.site.cli(&["--json", "flow", "show", scene.queue, "top"]).ok().json();
    assert_eq!((&tree["id"], &tree["state"]), (&json!("top"), &json!("waiting-children")), "{tree}");
    let children: BTreeSet<(&str, &str, &str)> = tree["children"]
        .as_array()
        .expect("children")
        .iter()
        .map(|child| {
            let text = |field: &str| child[field].as_str().expect("text");
            (text("id"), text("state"), text("child"))
        })
        .collect();
    let expected = [
        ("done", "completed", "completed"),
        ("middle", "waiting-children", "pending"),
        ("mild", "failed", "ignored"),
    ];
    assert_eq!(children, BTreeSet::from(expected), "{tree}");
    let ran = scene.site.cli(&["flow", "show", scene.queue, "top", "--depth", "2"]).ok();
    let ran = ran.answers(&["├─", "out of ink", "… more"]);
    assert!(!ran.stdout.contains("later"), "{ran}");
}
