//! Hosts, orders, the audit, reading the configuration again.

use async_trait::async_trait;
use jobcell_core::documents::{Expect, Folder};
use jobcell_core::fleet::{HostStatus, OrderKind, Phase};

use super::*;
use crate::Reloaded;

struct Steered(Result<Reloaded, Vec<String>>);

#[async_trait]
impl Control for Steered {
    async fn reload(&self) -> Result<Reloaded, Vec<String>> {
        self.0.clone()
    }

    fn status(&self) -> HostStatus {
        HostStatus { id: "own-1-0000".to_owned(), ..HostStatus::default() }
    }
}

async fn live(place: &Place, id: &str, phase: Phase) {
    let status = HostStatus { id: id.to_owned(), phase, ..HostStatus::default() };
    place.documents.put(Folder::Hosts, id, status.encode(), Expect::Anything, None).await.unwrap();
}

async fn order(place: &Place, id: &str) -> Option<OrderKind> {
    let fleet = Fleet::new(Arc::clone(&place.documents));
    fleet.pending(id).await.unwrap().map(|pending| pending.unwrap().order.kind)
}

#[tokio::test]
async fn hosts_are_listed_and_told_by_admins_alone() {
    let place = Place::open(tokens());
    live(&place, "web-1-aaaa", Phase::Running).await;
    live(&place, "web-2-bbbb", Phase::Stopping).await;
    let ask = async |method: Method, path: &str, token: &str| {
        place.ask(method, &format!("/api/v1/hosts{path}"), token, None).await
    };
    let listed = ask(Method::GET, "", "viewer").await.json;
    assert_eq!(listed["complete"], true);
    assert_eq!(
        (&listed["items"][0]["id"], &listed["items"][0]["phase"]),
        (&json!("web-1-aaaa"), &json!("running"))
    );
    assert_eq!(ask(Method::GET, "", "acme").await.status, StatusCode::FORBIDDEN);
    for token in ["viewer", "operator", "acme"] {
        assert_eq!(
            ask(Method::POST, "/web-1-aaaa/stop", token).await.status,
            StatusCode::FORBIDDEN,
            "{token}"
        );
    }
    assert_eq!(order(&place, "web-1-aaaa").await, None);
    let told = ask(Method::POST, "/web-1-aaaa/quiet", "admin").await;
    assert_eq!((told.status, &told.json["order"]), (StatusCode::ACCEPTED, &json!("quiet")));
    assert_eq!(order(&place, "web-1-aaaa").await, Some(OrderKind::Quiet));
    assert_eq!(ask(Method::POST, "/web-1-aaaa/stop", "admin").await.status, StatusCode::ACCEPTED);
    assert_eq!(ask(Method::POST, "/web-1-aaaa/unquiet", "admin").await.status, StatusCode::CONFLICT);
    assert_eq!(order(&place, "web-1-aaaa").await, Some(OrderKind::Stop));
    assert_eq!(ask(Method::POST, "/web-2-bbbb/quiet", "admin").await.status, StatusCode::CONFLICT);
    for nobody in ["/gone-1-cccc/stop", "/..%2F..%2Fetc/stop", "/web-1/stop"] {
        assert_eq!(ask(Method::POST, nobody, "admin").await.status, StatusCode::NOT_FOUND, "{nobody}");
    }
}

#[tokio::test]
async fn what_was_changed_is_listed_with_before_and_after_and_jobs_are_not() {
    let place = Place::open(tokens());
    place
        .ask(
            Method::POST,
            "/api/v1/queues/work/jobs",
            "operator",
            Some(json!({"name": "n", "opts": {"jobId": "a"}})),
        )
        .await;
    place.ask(Method::POST, "/api/v1/queues/work/pause", "operator", None).await;
    place.ask(Method::POST, "/api/v1/queues/work/drain", "operator", None).await;
    place.ask(Method::DELETE, "/api/v1/queues/work/jobs/a", "operator", None).await;
    let list =
        async |query: &str| place.ask(Method::GET, &format!("/api/v1/audit{query}"), "viewer", None).await;
    let all = list("").await.json;
    let items = all["items"].as_array().unwrap();
    assert_eq!(items.len(), 3, "{all}");
    let of = |n: usize| (items[n]["action"].as_str().unwrap(), items[n]["outcome"].as_str().unwrap());
    assert_eq!(of(0), ("DELETE /api/v1/queues/{queue}/jobs/{id}", "done"));
    assert_eq!(items[0]["before"], json!({"state": "waiting", "name": "n"}));
    assert!(of(1).0.ends_with("/drain") && of(1).1.starts_with("403: operator has the role"), "{:?}", of(1));
    assert_eq!(of(2).0, "POST /api/v1/queues/{queue}/pause");
    assert_eq!(
        (&items[2]["before"], &items[2]["after"]),
        (&json!({"paused": false}), &json!({"paused": true}))
    );
    assert_eq!(
        (&items[2]["who"], &items[2]["role"], &items[2]["via"]),
        (&json!("operator"), &json!("operator"), &json!("api"))
    );
    assert_eq!(items[2]["target"], "/api/v1/queues/work/pause");

    let first = list("?limit=2").await.json;
    assert_eq!(first["items"].as_array().unwrap().len(), 2);
    let rest = list(&format!("?limit=2&cursor={}", first["next"].as_str().unwrap())).await.json;
    assert_eq!((rest["items"].as_array().unwrap().len(), &rest["next"]), (1, &Value::Null));
    assert_eq!(list("?cursor=nonsense").await.status, StatusCode::BAD_REQUEST);
    let acme = place.ask(Method::GET, "/api/v1/audit", "acme", None).await;
    assert_eq!(acme.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn reading_the_configuration_again_tells_every_fault() {
    let mut place = Place::open(tokens());
    let ask = async |place: &Place, token: &str| place.ask(Method::POST, "/api/v1/reload", token, None).await;
    assert_eq!(ask(&place, "admin").await.status, StatusCode::NOT_FOUND);
    let steered = |answer| Some(Arc::new(Steered(answer)) as Arc<dyn Control>);
    let good = Reloaded { handlers: vec!["media".to_owned()], needs_restart: vec!["redis".to_owned()] };
    let steerable = Api { control: steered(Ok(good)), ..api(&place.store, &place.documents, tokens()) };
    place.router = router(steerable, true, CancellationToken::new());
    let answer = ask(&place, "admin").await;
    assert_eq!(answer.json, json!({"handlers": ["media"], "needsRestart": ["redis"]}));
    assert_eq!(ask(&place, "operator").await.status, StatusCode::FORBIDDEN);
    let faults = vec!["a is wrong".to_owned(), "b too".to_owned()];
    let steerable = Api { control: steered(Err(faults)), ..api(&place.store, &place.documents, tokens()) };
    place.router = router(steerable, true, CancellationToken::new());
    let answer = ask(&place, "admin").await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(answer.json["details"]["faults"], json!(["a is wrong", "b too"]));
}

#[tokio::test]
async fn nobody_is_shown_what_is_redacted() {
    let place = Place::open(Vec::new());
    let card = json!({"card": {"number": "4242424242424242", "month": 5}, "list": [{"card": 1}]});
    let job = json!({"name": "n", "data": card, "opts": {"jobId": "a"}});
    place.post("queues/work/jobs", Some(job)).await;
    let text = json!({"name": "n", "data": "card 4242424242424242", "opts": {"jobId": "b"}});
    place.post("queues/work/jobs", Some(text)).await;
    let one = place.get("queues/work/jobs/a").await.json;
    assert_eq!(one["data"]["card"], json!({"number": "[redacted]", "month": 5}));
    let all = place.get("queues/work/jobs").await.json.to_string();
    assert!(!all.contains("4242") && all.contains("[redacted]"), "{all}");
    let stored = place.store.get(&queue(), &JobId::new("a").unwrap()).await.unwrap().unwrap();
    assert!(std::str::from_utf8(&stored.data).unwrap().contains("4242"), "the handler has it");
}
