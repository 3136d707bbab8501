//! The API over the embedded store.

mod fleet;
mod handlers;
mod live;
mod security;
mod slow;
mod spool;

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::{Method, Request, StatusCode, header};
use bytes::Bytes;
use jobcell_core::documents::{Documents, MemoryDocuments};
use jobcell_core::store::{ClaimRequest, Claimed, Finish, Verdict};
use jobcell_core::{JobId, Keep, Store, SystemClock};
use jobcell_embedded::{EmbeddedOptions, EmbeddedStore};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tower::ServiceExt;

use super::*;

/// An API on a store of its own.
struct Place {
    router: Router,
    store: Arc<EmbeddedStore>,
    documents: Arc<dyn Documents>,
    _directory: TempDir,
}

/// What was answered.
struct Answer {
    status: StatusCode,
    headers: axum::http::HeaderMap,
    json: Value,
}

fn queue() -> QueueName {
    QueueName::new("work").unwrap()
}

/// The tokens `viewer`, `operator`, `admin` with their roles, and `acme` for a tenant's operator.
fn tokens() -> Vec<Token> {
    let token = |name: &str, role, tenant: Option<&str>| Token {
        name: name.to_owned(),
        role,
        sha256: Sha256::digest(name).into(),
        tenant: tenant.map(str::to_owned),
    };
    vec![
        token("viewer", Role::Viewer, None),
        token("operator", Role::Operator, None),
        token("admin", Role::Admin, None),
        token("acme", Role::Admin, Some("acme")),
    ]
}

/// An API that has nothing but these.
fn api(store: &Arc<EmbeddedStore>, documents: &Arc<dyn Documents>, tokens: Vec<Token>) -> Api {
    let redaction = Arc::new(Redaction::new(["data.card.number", "returnvalue.token"]).unwrap());
    let metrics = Arc::new(crate::Metrics::new());
    let audit = Audit::new(Arc::clone(documents), Arc::new(SystemClock), Arc::clone(&redaction), metrics);
    Api {
        store: Arc::clone(store) as _,
        clock: Arc::new(SystemClock),
        queues: vec![queue()],
        prefix: "bull".to_owned(),
        tokens: tokens.into(),
        handlers: None,
        fleet: Fleet::new(Arc::clone(documents)),
        audit: Arc::new(audit),
        redaction,
        control: None,
        explain: None,
        spool: None,
        dashboard: DashboardOptions::default(),
    }
}

impl Place {
    fn open(tokens: Vec<Token>) -> Self {
        Self::open_until(tokens, CancellationToken::new())
    }

    /// The same; streams end when `closing` fires.
    fn open_until(tokens: Vec<Token>, closing: CancellationToken) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Arc::new(EmbeddedStore::open(directory.path(), EmbeddedOptions::default()).unwrap());
        let documents: Arc<dyn Documents> = Arc::new(MemoryDocuments::default());
        let api = api(&store, &documents, tokens);
        Self { router: router(api, true, closing), store, documents, _directory: directory }
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let bytes = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        let json = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).unwrap() };
        if status.is_client_error() || status.is_server_error() {
            assert_eq!(headers[header::CONTENT_TYPE], "application/problem+json", "{json}");
            assert_eq!(json["status"], status.as_u16());
            assert!(!json["detail"].as_str().unwrap().is_empty());
        }
        Answer { status, headers, json }
    }

    async fn ask(&self, method: Method, path: &str, token: &str, body: Option<Value>) -> Answer {
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, "localhost");
        if !token.is_empty() {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let body = match body {
            Some(json) => {
                request = request.header(header::CONTENT_TYPE, "application/json");
                Body::from(json.to_string())
            }
            None => Body::empty(),
        };
        self.send(request.body(body).unwrap()).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, &format!("/api/v1/{path}"), "", None).await
    }

    async fn post(&self, path: &str, body: Option<Value>) -> Answer {
        self.ask(Method::POST, &format!("/api/v1/{path}"), "", body).await
    }

    /// Claims so many jobs and completes them.
    async fn complete(&self, count: usize) {
        let request = ClaimRequest {
            max: count,
            token_prefix: "tests".into(),
            token_first: 0,
            lock: Duration::from_secs(30),
            worker_name: None,
            rate: None,
            now: SystemClock.now(),
        };
        let claim = self.store.claim(&queue(), &request).await.unwrap();
        assert_eq!(claim.jobs.len(), count);
        let verdict = Verdict::Complete { result: Bytes::from_static(b"{\"n\":1}"), keep: Keep::All };
        let end = |claimed: Claimed| Finish::new(claimed.id, claimed.token, verdict.clone());
        let ends = claim.jobs.into_iter().map(end).collect();
        self.store.finish(&queue(), ends, None, SystemClock.now()).await.unwrap();
    }

    /// Adds jobs with the ids `j0`, `j1`, …
    async fn fill(&self, ids: std::ops::Range<usize>) {
        let job = |n: usize| json!({"name": "n", "data": n, "opts": {"jobId": format!("j{n}")}});
        let answer = self.post("queues/work/jobs", Some(ids.map(job).collect())).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.json);
    }

    /// The ids of a list, slice by slice; between slices something happens.
    async fn walk(&self, query: &str, between: impl AsyncFn(usize)) -> Vec<String> {
        let (mut ids, mut cursor, mut slices) = (Vec::new(), String::new(), 0);
        loop {
            let answer = self.get(&format!("queues/work/jobs?{query}{cursor}")).await;
            assert_eq!(answer.status, StatusCode::OK, "{}", answer.json);
            let items = answer.json["items"].as_array().unwrap();
            ids.extend(items.iter().map(|job| job["id"].as_str().unwrap().to_owned()));
            match answer.json["next"].as_str() {
                None => return ids,
                Some(next) => cursor = format!("&cursor={next}"),
            }
            slices += 1;
            assert!(slices < 100, "the list ends");
            between(slices).await;
        }
    }
}

#[tokio::test]
async fn a_job_is_added_and_looked_at() {
    let place = Place::open(Vec::new());
    let body = json!({"name": "hello", "data": {"a": [1, 2]}, "opts": {"attempts": 3, "tenant": "t"}});
    let added = place.post("queues/work/jobs", Some(body)).await;
    assert_eq!(added.status, StatusCode::CREATED);
    assert_eq!((added.json["queue"].as_str(), added.json["added"].as_bool()), (Some("work"), Some(true)));
    let id = added.json["id"].as_str().unwrap();
    let job = place.get(&format!("queues/work/jobs/{id}")).await.json;
    assert_eq!((job["name"].as_str(), job["state"].as_str()), (Some("hello"), Some("waiting")));
    assert_eq!(job["data"], json!({"a": [1, 2]}));
    assert_eq!(job["opts"]["tenant"], "t");
    place.complete(1).await;
    let job = place.get(&format!("queues/work/jobs/{id}")).await.json;
    assert_eq!((job["state"].as_str(), &job["returnvalue"]), (Some("completed"), &json!({"n": 1})));
    assert_eq!(
        place.get(&format!("queues/work/jobs/{id}/logs")).await.json,
        json!({"items": [], "next": null})
    );
    let tree = place.get(&format!("queues/work/jobs/{id}/flow")).await.json;
    assert_eq!((tree["id"].as_str(), tree["children"].as_array().unwrap().len()), (Some(id), 0));
}

#[tokio::test]
async fn a_repeated_request_adds_nothing() {
    let place = Place::open(Vec::new());
    let body = json!({"name": "hello", "opts": {"jobId": "once"}});
    for added in [true, false] {
        let answer = place.post("queues/work/jobs", Some(body.clone())).await;
        assert_eq!((answer.status, answer.json["added"].as_bool()), (StatusCode::CREATED, Some(added)));
    }
    assert_eq!(place.get("queues/work").await.json["waiting"], 1);
}

#[tokio::test]
async fn a_waiting_request_is_told_the_end() {
    let place = Place::open(Vec::new());
    let added = async { place.post("queues/work/jobs?wait=20", Some(json!({"name": "n"}))).await };
    let done = async {
        let mut tries = 0;
        while place.get("queues/work").await.json["waiting"] != 1 {
            tries += 1;
            assert!(tries < 2000, "the job comes");
            tokio::task::yield_now().await;
        }
        place.complete(1).await;
    };
    let (answer, ()) = tokio::join!(added, done);
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(
        (answer.json["state"].as_str(), &answer.json["result"]),
        (Some("completed"), &json!({"n": 1}))
    );
    let answer = place.post("queues/work/jobs?wait=1", Some(json!({"name": "n"}))).await;
    assert_eq!((answer.status, answer.json["state"].as_str()), (StatusCode::ACCEPTED, Some("pending")));
}

#[tokio::test]
async fn every_job_is_seen_while_others_come_and_go() {
    let place = Place::open(Vec::new());
    place.fill(0..25).await;
    place.complete(25).await;
    // Finished ones are told newest first: what finishes meanwhile shifts them all.
    let ids = place
        .walk("state=completed&limit=10", async |slice| {
            place.fill(slice * 100..slice * 100 + 7).await;
            place.complete(7).await;
        })
        .await;
    for n in 0..25 {
        assert_eq!(ids.iter().filter(|id| **id == format!("j{n}")).count(), 1, "j{n} in {ids:?}");
    }
    // Waiting ones go away at the front.
    place.fill(1000..1030).await;
    let ids = place.walk("state=waiting&limit=10", async |_| place.complete(3).await).await;
    for n in 1010..1030 {
        assert!(ids.contains(&format!("j{n}")), "j{n} in {ids:?}");
    }
}

#[tokio::test]
async fn the_largest_slices_end_with_the_list() {
    let place = Place::open(Vec::new());
    for batch in 0..3 {
        place.fill(batch * 1000..batch * 1000 + 1000).await;
    }
    for limit in [999, 1000] {
        let ids = place.walk(&format!("state=waiting&limit={limit}"), async |_| {}).await;
        assert_eq!(ids.len(), 3000, "in slices of {limit}");
    }
}

#[tokio::test]
async fn all_states_are_walked_in_one_list() {
    let place = Place::open(Vec::new());
    place.fill(0..7).await;
    place.complete(4).await;
    let delayed = json!({"name": "n", "opts": {"jobId": "later", "delay": 3_600_000}});
    place.post("queues/work/jobs", Some(delayed)).await;
    for limit in [1, 2, 3, 8, 50] {
        let mut ids = place.walk(&format!("limit={limit}"), async |_| {}).await;
        ids.sort();
        assert_eq!(ids, ["j0", "j1", "j2", "j3", "j4", "j5", "j6", "later"], "in slices of {limit}");
    }
}

#[tokio::test]
async fn what_can_be_done_to_a_job_is_done() {
    let place = Place::open(Vec::new());
    let delayed = json!({"name": "n", "opts": {"jobId": "a b/c", "delay": 3_600_000}});
    place.post("queues/work/jobs", Some(delayed)).await;
    let job = "queues/work/jobs/a%20b%2Fc";
    assert_eq!(place.post(&format!("{job}/retry"), None).await.status, StatusCode::CONFLICT);
    assert_eq!(place.post(&format!("{job}/promote"), None).await.json["state"], "waiting");
    place.complete(1).await;
    assert_eq!(place.post(&format!("{job}/retry"), None).await.json["state"], "waiting");
    let removed = place.ask(Method::DELETE, &format!("/api/v1/{job}"), "", None).await;
    assert_eq!((removed.status, removed.json), (StatusCode::NO_CONTENT, Value::Null));
    assert_eq!(place.get(job).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn jobs_are_cancelled_and_their_cost_is_told() {
    let place = Place::open(Vec::new());
    place.fill(0..2).await;
    let cancelled = place.post("queues/work/jobs/j0/cancel", None).await;
    assert_eq!((cancelled.status, cancelled.json["state"].as_str()), (StatusCode::OK, Some("failed")));
    assert_eq!(place.post("queues/work/jobs/j0/cancel", None).await.status, StatusCode::CONFLICT);
    place.complete(1).await;
    let receipts = place.get("queues/work/jobs/j1/receipt").await;
    assert_eq!((receipts.status, receipts.json["items"].is_array()), (StatusCode::OK, true));
    assert_eq!(place.get("queues/work/jobs/none/receipt").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn queues_are_paused_limited_and_cleaned() {
    let place = Place::open(Vec::new());
    place.fill(0..5).await;
    place.complete(2).await;
    assert_eq!(place.post("queues/work/pause", None).await.json, json!({"name": "work", "paused": true}));
    assert_eq!(place.get("queues/work").await.json["paused"], true);
    place.post("queues/work/resume", None).await;
    let limits = json!({"concurrency": 3, "rate": {"max": 10, "per_ms": 1000}});
    let set = |body: Value| place.ask(Method::PATCH, "/api/v1/queues/work/limits", "", Some(body));
    let shown = set(limits).await.json;
    assert_eq!((shown["concurrency"].as_u64(), shown["rate"]["max"].as_u64()), (Some(3), Some(10)));
    let shown = set(json!({"rate": null})).await.json;
    assert_eq!((shown["concurrency"].as_u64(), shown["rate"].is_null()), (Some(3), true));
    assert_eq!(set(json!({"concurrency": 0})).await.status, StatusCode::UNPROCESSABLE_ENTITY);
    let cleaned = place.post("queues/work/clean", Some(json!({"state": "completed"}))).await;
    assert_eq!(cleaned.json, json!({"name": "work", "removed": 2}));
    assert_eq!(place.post("queues/work/drain", None).await.json["removed"], 3);
    let list = place.get("queues").await.json;
    assert_eq!(
        (list["items"][0]["name"].as_str(), list["items"].as_array().unwrap().len()),
        (Some("work"), 1)
    );
}

#[tokio::test]
async fn schedulers_are_set_shown_and_removed() {
    let place = Place::open(Vec::new());
    let path = "/api/v1/queues/work/schedulers/nightly";
    let put = |body: Value| place.ask(Method::PUT, path, "", Some(body));
    let set = put(json!({"pattern": "0 3 * * *", "tz": "Europe/Berlin", "name": "report"})).await;
    assert_eq!((set.status, set.json["id"].as_str()), (StatusCode::OK, Some("nightly")));
    let shown = place.get("queues/work/schedulers/nightly").await.json;
    assert_eq!((shown["pattern"].as_str(), shown["tz"].as_str()), (Some("0 3 * * *"), Some("Europe/Berlin")));
    assert_eq!(place.get("queues/work/schedulers").await.json["items"][0]["name"], "report");
    // The cursor ends with the list.
    for (query, next) in [("", true), ("?limit=1000", true), ("?limit=1", true)] {
        let list = place.get(&format!("queues/work/schedulers{query}")).await.json;
        assert_eq!(list["next"].is_null(), next, "{query:?}: {list}");
    }
    let other = "/api/v1/queues/work/schedulers/hourly";
    place.ask(Method::PUT, other, "", Some(json!({"pattern": "0 * * * *"}))).await;
    let first = place.get("queues/work/schedulers?limit=1").await.json;
    let cursor = first["next"].as_str().unwrap();
    let second = place.get(&format!("queues/work/schedulers?limit=1&cursor={cursor}")).await.json;
    assert_eq!((second["items"].as_array().unwrap().len(), second["next"].is_null()), (1, true), "{second}");
    place.ask(Method::DELETE, other, "", None).await;
    for bad in [
        json!({}),
        json!({"pattern": "0 3 * *"}),
        json!({"every": 5, "pattern": "* * * * *"}),
        json!({"every": 5, "tz": "UTC"}),
        json!({"pattern": "* * * * *", "offset": 5}),
        json!({"every": 5, "evry": 5}),
    ] {
        assert_eq!(put(bad.clone()).await.status, StatusCode::BAD_REQUEST, "{bad}");
    }
    let removed = place.ask(Method::DELETE, path, "", None).await;
    assert_eq!(removed.status, StatusCode::NO_CONTENT);
    assert_eq!(place.ask(Method::DELETE, path, "", None).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn what_makes_no_sense_is_a_problem_that_says_so() {
    let place = Place::open(Vec::new());
    let jobs = "queues/work/jobs";
    let wrong: [(&str, Option<Value>, StatusCode, &str); 12] = [
        (jobs, Some(json!({"name": ""})), StatusCode::BAD_REQUEST, "name is empty"),
        (jobs, Some(json!({"nam": "x"})), StatusCode::BAD_REQUEST, "nam"),
        (jobs, Some(json!({"name": "x", "opts": {"atempts": 3}})), StatusCode::BAD_REQUEST, "opts.atempts"),
        (jobs, Some(json!([{"name": "x"}, {"name": 3}])), StatusCode::BAD_REQUEST, "[1].name"),
        (jobs, Some(json!({"name": "x", "opts": {"jobId": "17"}})), StatusCode::BAD_REQUEST, "17"),
        (jobs, Some(json!({"name": "x", "opts": {"sizeLimit": 1}})), StatusCode::BAD_REQUEST, "sizeLimit"),
        ("queues/work/jobs?wait=9", Some(json!([{"name": "x"}])), StatusCode::BAD_REQUEST, "wait"),
        ("queues/work/jobs?wait=9999", Some(json!({"name": "x"})), StatusCode::BAD_REQUEST, "wait"),
        ("queues/wrk/pause", None, StatusCode::NOT_FOUND, "work"),
        ("queues/a:b/pause", None, StatusCode::BAD_REQUEST, "':'"),
        ("queues/work/clean", Some(json!({"state": "complete"})), StatusCode::BAD_REQUEST, "completed"),
        ("queues/work/jobs/1/retry", None, StatusCode::NOT_FOUND, "does not exist"),
    ];
    for (path, body, status, part) in wrong {
        let answer = place.post(path, body.clone()).await;
        let detail = answer.json["detail"].as_str().unwrap();
        assert_eq!(answer.status, status, "{path} {body:?}: {detail}");
        assert!(detail.contains(part), "{path} {body:?}: {detail}");
    }
    for path in
        ["jobs/%ff", "jobs?limit=0", "jobs?limit=1001", "jobs?state=x", "jobs?cursor=x", "jobs?offset=3"]
    {
        let answer = place.get(&format!("queues/work/{path}")).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{path}: {}", answer.json);
    }
    let method = place.ask(Method::PUT, "/api/v1/queues/work", "", None).await;
    assert_eq!(method.status, StatusCode::METHOD_NOT_ALLOWED);
    let form = Request::post("/api/v1/queues/work/jobs").header(header::HOST, "localhost");
    let form = form.header(header::CONTENT_TYPE, "text/plain").body(Body::from("{}")).unwrap();
    assert_eq!(place.send(form).await.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let large = Request::post("/api/v1/queues/work/jobs").header(header::HOST, "localhost");
    let large = large.header(header::CONTENT_TYPE, "application/json");
    let large = large.body(Body::from(vec![b' '; BODY_BYTES_MAX + 1])).unwrap();
    assert_eq!(place.send(large).await.status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn roles_bound_what_a_token_may_do() {
    let place = Place::open(tokens());
    let ask = async |method: Method, path: &str, token: &str| {
        let body = (path == "queues/work/jobs").then(|| json!({"name": "n"}));
        place.ask(method, &format!("/api/v1/{path}"), token, body).await.status
    };
    use StatusCode as S;
    for (token, look, add, drain) in [
        ("", S::UNAUTHORIZED, S::UNAUTHORIZED, S::UNAUTHORIZED),
        ("guess", S::UNAUTHORIZED, S::UNAUTHORIZED, S::UNAUTHORIZED),
        ("viewer", S::OK, S::FORBIDDEN, S::FORBIDDEN),
        ("operator", S::OK, S::CREATED, S::FORBIDDEN),
        ("admin", S::OK, S::CREATED, S::OK),
        ("acme", S::FORBIDDEN, S::CREATED, S::FORBIDDEN),
    ] {
        assert_eq!(ask(Method::GET, "queues", token).await, look, "{token:?} looks");
        assert_eq!(ask(Method::POST, "queues/work/jobs", token).await, add, "{token:?} adds");
        assert_eq!(ask(Method::POST, "queues/work/drain", token).await, drain, "{token:?} drains");
    }
    // Autoscalers and probes have no token.
    let scale = place.ask(Method::GET, "/scale", "", None).await;
    assert_eq!((scale.status, scale.json["queues"]["work"]["waiting"].as_u64()), (S::OK, Some(1)));
}

#[tokio::test]
async fn without_tokens_a_host_that_others_can_reach_keeps_the_api_closed() {
    let mut place = Place::open(Vec::new());
    let api = api(&place.store, &place.documents, Vec::new());
    place.router = router(api, false, CancellationToken::new());
    for path in ["queues", "openapi.json", "events"] {
        let answer = place.get(path).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path}");
        assert!(answer.json["detail"].as_str().unwrap().contains("[[server.tokens]]"), "{}", answer.json);
    }
    assert_eq!(place.ask(Method::GET, "/scale", "", None).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_tenants_token_sees_its_own_jobs_alone() {
    let place = Place::open(tokens());
    let add = async |token: &str, body: Value| {
        place.ask(Method::POST, "/api/v1/queues/work/jobs", token, Some(body)).await
    };
    add("admin", json!({"name": "n", "opts": {"jobId": "ours", "tenant": "acme"}})).await;
    add("admin", json!({"name": "n", "opts": {"jobId": "theirs", "tenant": "other"}})).await;
    add("admin", json!({"name": "n", "opts": {"jobId": "nobodys"}})).await;
    add("acme", json!({"name": "n", "opts": {"jobId": "own"}})).await;
    let get =
        async |path: &str| place.ask(Method::GET, &format!("/api/v1/queues/work/{path}"), "acme", None).await;
    let list = get("jobs").await.json;
    let ids: Vec<_> =
        list["items"].as_array().unwrap().iter().map(|job| job["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["ours", "own"]);
    assert_eq!(get("jobs/own").await.json["opts"]["tenant"], "acme");
    for others in ["jobs/theirs", "jobs/nobodys", "jobs/theirs/logs"] {
        assert_eq!(get(others).await.status, StatusCode::NOT_FOUND, "{others}");
    }
    for path in ["jobs/theirs/retry", "jobs/theirs/promote"] {
        let answer = place.ask(Method::POST, &format!("/api/v1/queues/work/{path}"), "acme", None).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
    }
    let removed = place.ask(Method::DELETE, "/api/v1/queues/work/jobs/theirs", "acme", None).await;
    assert_eq!(removed.status, StatusCode::NOT_FOUND);
    assert!(place.store.get(&queue(), &JobId::new("theirs").unwrap()).await.unwrap().is_some());
    let foreign = add("acme", json!({"name": "n", "opts": {"tenant": "other"}})).await;
    assert_eq!(foreign.status, StatusCode::FORBIDDEN);
    // What names a job that is another's neither touches nor tells of it.
    for opts in [
        json!({"jobId": "theirs"}),
        json!({"jobId": "mine", "parent": {"id": "theirs", "queue": "bull:work"}}),
        json!({"jobId": "mine", "deduplication": {"id": "d", "replace": true}}),
    ] {
        let answer = add("acme", json!({"name": "n", "opts": opts})).await;
        assert!(
            [StatusCode::CONFLICT, StatusCode::FORBIDDEN].contains(&answer.status),
            "{opts}: {}",
            answer.json
        );
    }
    let unknown = place.ask(Method::GET, "/api/v1/queues/nosuch/jobs", "acme", None).await;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);
    assert!(!unknown.json["detail"].as_str().unwrap().contains("work"), "{}", unknown.json);
}

#[tokio::test]
async fn delayed_jobs_that_are_due_ask_for_hosts() {
    let place = Place::open(Vec::new());
    let past = SystemClock.now() - 60_000;
    let due = json!({"name": "n", "opts": {"delay": 1000, "timestamp": past}});
    let later = json!({"name": "n", "opts": {"delay": 3_600_000}});
    place.post("queues/work/jobs", Some(json!([due, due, later]))).await;
    let load = place.ask(Method::GET, "/scale", "", None).await.json["queues"]["work"].clone();
    assert_eq!((load["delayed_due"].as_u64(), load["waiting"].as_u64()), (Some(2), Some(0)), "{load}");
}

#[tokio::test]
async fn the_document_is_served_and_is_the_one_in_the_repository() {
    let served = Place::open(Vec::new()).get("openapi.json").await;
    assert_eq!((served.status, served.json["openapi"].as_str()), (StatusCode::OK, Some("3.1.0")));
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json");
    if std::env::var_os("JOBCELL_BLESS").is_some() {
        std::fs::write(&file, openapi()).unwrap();
    }
    let kept = std::fs::read_to_string(&file).unwrap_or_default();
    let fix = "docs/openapi.json is not what the handlers say; run JOBCELL_BLESS=1 cargo test -p jobcell-server document";
    assert!(kept == openapi(), "{fix}");
}

#[tokio::test]
async fn queues_come_in_slices_by_name() {
    let place = Place::open(Vec::new());
    for name in ["alpha", "beta", "gamma"] {
        let queue = QueueName::new(name).unwrap();
        place.store.add(&queue, vec![jobcell_core::store::NewJob::new("n", "{}")], 1).await.unwrap();
    }
    let (mut names, mut cursor) = (Vec::new(), String::new());
    loop {
        let slice = place.get(&format!("queues?limit=3{cursor}")).await.json;
        names.extend(slice["items"].as_array().unwrap().iter().map(|queue| queue["name"].clone()));
        match slice["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(names, ["alpha", "beta", "gamma", "work"]);
    assert!(place.get("queues").await.json["next"].is_null());
    assert_eq!(place.get("queues?limit=1001").await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn jobs_carry_the_trace_of_the_request_unless_they_have_their_own() {
    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let place = Place::open(Vec::new());
    let jobs = json!([
        {"name": "n", "opts": {"jobId": "carries"}},
        {"name": "n", "opts": {"jobId": "has", "telemetry": {"metadata": "its own"}}},
        {"name": "n", "opts": {"jobId": "ends", "telemetry": {"omitContext": true}}},
    ]);
    let request = Request::post("/api/v1/queues/work/jobs")
        .header(header::HOST, "localhost")
        .header(header::CONTENT_TYPE, "application/json")
        .header("traceparent", PARENT)
        .header("tracestate", "vendor=1");
    let added = place.send(request.body(Body::from(jobs.to_string())).unwrap()).await;
    assert_eq!(added.status, StatusCode::CREATED, "{}", added.json);
    let carried = async |id: &str| {
        let job = place.store.get(&queue(), &JobId::new(id).unwrap()).await.unwrap().unwrap();
        job.options.telemetry
    };
    let carrier: Value = serde_json::from_str(&carried("carries").await.unwrap()).unwrap();
    assert_eq!(carrier, json!({"traceparent": PARENT, "tracestate": "vendor=1"}));
    assert_eq!((carried("has").await.as_deref(), carried("ends").await), (Some("its own"), None));
}
