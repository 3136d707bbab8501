//! bull-board over queues that we work on: its own routes, as its page calls them.

use jobcell_tests::{Client, wait};
use serde_json::{Value, json};

use super::rig::{Case, Scene, case, tests_of};

const NODE: &[Client] = Client::NODE;

const CASES: &[Case] = &[
    case!(overview, Board, NODE, "the list of queues has our queue with its counts, and that it has workers"),
    case!(one_job, Board, NODE, "a job's page has its data, result, progress and state"),
    case!(
        failed_job,
        Board,
        NODE,
        "a failed job's page has its reason and traces; retrying it runs it again"
    ),
    case!(job_logs, Board, NODE, "a job's log is what its handler wrote"),
    case!(promotes, Board, NODE, "promoting a delayed job, or all of them, runs them"),
    case!(pauses, Board, NODE, "pausing and resuming a queue holds and frees our worker"),
    case!(adds, Board, NODE, "a job added on the page runs"),
    case!(cleans, Board, NODE, "cleaning a state and removing a job leave the rest alone"),
    case!(retries_all, Board, NODE, "retrying all failed jobs runs them again"),
    case!(board_workers, Board, NODE, "the list of workers names ours", "name = \"cells-9\""),
    case!(
        board_schedulers,
        Board,
        NODE,
        "a scheduler is listed with its next run and the one that we ran, runs once more when told, and is removed"
    ),
    case!(board_metrics, Board, NODE, "the metrics of a queue are what we recorded", "metrics-points = 60"),
];

tests_of! { CASES; bullmq_5_56 = Floor, bullmq_5_81 = Five, bullmq_6_7 = Six }

/// Calls a route of the board, below `/api/queues`.
#[track_caller]
fn board(scene: &Scene<'_>, method: &str, path: &str, more: Value) -> Value {
    let mut request = json!({"on": "board", "queues": [scene.queue], "method": method});
    request["path"] = format!("/api/queues{path}").into();
    for field in ["query", "body"] {
        request[field] = more[field].clone();
    }
    let answer = scene.bull.call(request);
    assert!(answer["status"].as_u64().is_some_and(|status| status < 300), "{method} {path}: {answer}");
    answer["body"].clone()
}

/// A route of the queue of this case.
#[track_caller]
fn queue(scene: &Scene<'_>, method: &str, path: &str) -> Value {
    board(scene, method, &format!("/{}{path}", scene.queue), json!({}))
}

#[track_caller]
fn listed(scene: &Scene<'_>, status: &str) -> Value {
    let query = json!({"activeQueue": scene.queue, "status": status, "page": "1", "jobsPerPage": "10"});
    board(scene, "get", "", json!({"query": query}))["queues"][0].take()
}

fn overview(scene: &Scene<'_>) {
    let (done, _) = scene.outcome("noop", json!({"i": 1}), json!({}));
    let (failed, _) = scene.outcome("fail", json!({"kind": "fatal", "message": "no"}), json!({}));
    let delayed = scene.add("noop", json!({"i": 2}), json!({"delay": 3_600_000}));
    for (status, id) in [("completed", &done), ("failed", &failed), ("delayed", &delayed)] {
        let queue = listed(scene, status);
        assert_eq!(queue["name"], scene.queue, "{queue}");
        assert_eq!(queue["counts"][status], 1, "{queue}");
        assert_eq!(queue["jobs"][0]["id"], id.as_str(), "{queue}");
        assert_eq!((&queue["isPaused"], &queue["hasWorkers"]), (&json!(false), &json!(true)), "{queue}");
    }
}

fn one_job(scene: &Scene<'_>) {
    let (id, _) = scene.outcome("progress", json!({"steps": 2}), json!({}));
    let page = queue(scene, "get", &format!("/{id}"));
    assert_eq!(page["status"], "completed", "{page}");
    let job = &page["job"];
    assert_eq!((&job["data"], &job["returnValue"]), (&json!({"steps": 2}), &json!(2)), "{page}");
    assert_eq!((&job["progress"], &job["attempts"]), (&json!({"done": 2, "total": 2}), &json!(1)), "{page}");
    assert_eq!(job["isFailed"], false, "{page}");
}

fn failed_job(scene: &Scene<'_>) {
    let data = json!({"kind": "fatal", "message": "no such donor"});
    let (id, _) = scene.outcome("once", data, json!({}));
    let page = queue(scene, "get", &format!("/{id}"));
    assert_eq!(
        (&page["status"], &page["job"]["failedReason"]),
        (&json!("failed"), &json!("no such donor")),
        "{page}"
    );
    assert!(
        page["job"]["stacktrace"][0].as_str().is_some_and(|trace| trace.contains("no such donor")),
        "{page}"
    );
    queue(scene, "put", &format!("/{id}/retry"));
    scene.wait_state(&id, "completed");
    assert_eq!(scene.get(&id)["returnvalue"]["starts"], 2);
}

fn job_logs(scene: &Scene<'_>) {
    let (id, _) = scene.outcome("logs", json!({"lines": 1}), json!({}));
    let logs = queue(scene, "get", &format!("/{id}/logs"));
    assert_eq!(logs.as_array().map(Vec::len), Some(3), "{logs}");
    assert!(logs.to_string().contains("stdout 0"), "{logs}");
}

fn promotes(scene: &Scene<'_>) {
    let ids: Vec<_> =
        (0..3).map(|i| scene.add("noop", json!({"i": i}), json!({"delay": 3_600_000}))).collect();
    queue(scene, "put", &format!("/{}/promote", ids[1]));
    assert!(scene.finished(&ids[1]).is_ok());
    assert_eq!(scene.count("delayed"), 2);
    queue(scene, "put", "/promote");
    assert!(scene.finished(&ids[0]).is_ok() && scene.finished(&ids[2]).is_ok());
}

fn pauses(scene: &Scene<'_>) {
    queue(scene, "put", "/pause");
    assert_eq!(listed(scene, "latest")["isPaused"], true);
    let id = scene.add("noop", json!({"i": 1}), json!({}));
    assert!(!scene.hash(&id).contains_key("processedOn"));
    queue(scene, "put", "/resume");
    assert!(scene.finished(&id).is_ok());
}

fn adds(scene: &Scene<'_>) {
    let body = json!({"name": "noop", "data": {"i": 5}, "options": {"attempts": 2}});
    let added = board(scene, "post", &format!("/{}/add", scene.queue), json!({"body": body}));
    let id = added["job"]["id"].as_str().expect("an id");
    assert_eq!(scene.finished(id), Ok(json!({"ok": true, "i": 5})));
}

fn cleans(scene: &Scene<'_>) {
    let done: Vec<_> = (0..3).map(|i| scene.outcome("noop", json!({"i": i}), json!({})).0).collect();
    let (failed, _) = scene.outcome("fail", json!({"kind": "fatal", "message": "no"}), json!({}));
    queue(scene, "put", &format!("/{}/clean", done[0]));
    assert!(scene.get(&done[0]).is_null() && scene.get(&done[1]).is_object());
    // The board spares what ended within the last five seconds; these ended before that, says the set that tells.
    for id in &done[1..] {
        let ended = scene.get(id)["finishedOn"].as_u64().expect("a time");
        scene.redis.client().run(&["ZADD", &scene.key("completed"), &(ended - 10_000).to_string(), id]);
        scene.redis.client().run(&["HSET", &scene.key(id), "finishedOn", &(ended - 10_000).to_string()]);
    }
    queue(scene, "put", "/clean/completed");
    assert_eq!((scene.count("completed"), scene.state(&failed).as_str()), (0, "failed"));
}

fn retries_all(scene: &Scene<'_>) {
    let data = json!({"kind": "fatal", "message": "no"});
    for _ in 0..3 {
        assert!(scene.outcome("once", data.clone(), json!({})).1.is_err());
    }
    queue(scene, "put", "/retry/failed");
    assert_eq!(scene.completed(3).len(), 3);
}

fn board_workers(scene: &Scene<'_>) {
    let workers = queue(scene, "get", "/workers");
    assert!(workers.to_string().contains("cells-9"), "{workers}");
}

fn board_schedulers(scene: &Scene<'_>) {
    scene.call(
        "upsertJobScheduler",
        json!(["hourly", {"every": 3_600_000}, {"name": "noop", "data": {"i": 1}}]),
    );
    let first = scene.completed(1).remove(0);
    let mut request =
        json!({"on": "board", "queues": [scene.queue], "method": "get", "path": "/api/job-schedulers"});
    request["query"] = json!({"queueName": scene.queue});
    let list = wait::until("the next run is made", || {
        let list = scene.bull.call(request.clone())["body"].take();
        list.to_string().contains("\"iterationCount\":2").then_some(list)
    });
    assert!(list.to_string().contains(&format!("\"lastRunJobId\":\"{first}\"")), "{list}");
    queue(scene, "put", "/job-schedulers/hourly/run");
    assert_eq!(scene.completed(2).len(), 2);
    queue(scene, "put", "/job-schedulers/hourly/remove");
    assert_eq!(scene.call("getJobSchedulersCount", json!([])), 0);
    assert_eq!(scene.count("delayed"), 0);
}

fn board_metrics(scene: &Scene<'_>) {
    assert!(scene.outcome("noop", json!({"i": 1}), json!({})).1.is_ok());
    let metrics = queue(scene, "get", "/metrics");
    assert_eq!(metrics["completed"]["meta"]["count"], 1, "{metrics}");
}
