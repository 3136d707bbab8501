//! Handlers over the API: who may do what, how a component comes in, and what errors say.

use std::sync::Mutex;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::*;
use crate::handlers::{Author, Change, Deployment, HandlersError, HandlersFault, Then};

/// One handler, `media`, that remembers what was asked of it.
#[derive(Default)]
struct Remembering {
    deployed: Mutex<Vec<(Deployment, Author)>>,
    changed: Mutex<Vec<(Change, Author)>>,
    /// What the next change is told.
    fault: Mutex<Option<HandlersError>>,
}

impl Remembering {
    fn answer(&self, handler: &str) -> Result<Value, HandlersError> {
        if handler != "media" {
            let told = format!("there is no handler {handler:?}; there is \"media\"");
            return Err(HandlersError::new(HandlersFault::NotFound, told));
        }
        Ok(json!({ "name": "media", "generation": 7 }))
    }

    fn changed(&self, handler: &str) -> Result<Value, HandlersError> {
        match self.fault.lock().unwrap().take() {
            Some(fault) => Err(fault),
            None => self.answer(handler),
        }
    }
}

#[async_trait]
impl Handlers for Remembering {
    async fn list(&self) -> Result<Vec<Value>, HandlersError> {
        Ok(vec![self.answer("media")?])
    }

    async fn get(&self, handler: &str) -> Result<Value, HandlersError> {
        // Looked at before and after a change, whose own answer a fault is.
        let fault = self.fault.lock().unwrap().take();
        let answer = self.answer(handler);
        *self.fault.lock().unwrap() = fault;
        answer
    }

    async fn history(
        &self,
        handler: &str,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<Value>, HandlersError> {
        self.answer(handler)?;
        let newest = before.map_or(5, |before| before - 1);
        let numbers = (1..=newest).rev().take(limit as usize);
        Ok(numbers.map(|number| json!({ "number": number, "by": "ops" })).collect())
    }

    async fn deploy(
        &self,
        handler: &str,
        deployment: Deployment,
        author: Author,
    ) -> Result<Value, HandlersError> {
        let answer = self.changed(handler)?;
        self.deployed.lock().unwrap().push((deployment, author));
        Ok(answer)
    }

    async fn change(&self, handler: &str, change: Change, author: Author) -> Result<Value, HandlersError> {
        let answer = self.changed(handler)?;
        self.changed.lock().unwrap().push((change, author));
        Ok(answer)
    }
}

fn place(tokens: Vec<Token>) -> (Place, Arc<Remembering>) {
    let mut place = Place::open(Vec::new());
    let handlers = Arc::new(Remembering::default());
    let api =
        Api { handlers: Some(Arc::clone(&handlers) as _), ..api(&place.store, &place.documents, tokens) };
    place.router = router(api, true, CancellationToken::new());
    (place, handlers)
}

async fn upload(place: &Place, query: &str, headers: &[(&str, &str)], body: &'static [u8]) -> Answer {
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(format!("/api/v1/handlers/media/versions{query}"))
        .header(header::HOST, "localhost")
        .header(header::CONTENT_TYPE, "application/wasm");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    place.send(request.body(Body::from(body)).unwrap()).await
}

#[tokio::test]
async fn handlers_are_listed_and_their_history_comes_in_slices() {
    let (place, _) = place(Vec::new());
    assert_eq!(place.get("handlers").await.json["items"][0]["name"], "media");
    assert_eq!(place.get("handlers/media").await.json["generation"], 7);
    let missing = place.get("handlers/medea").await;
    assert_eq!((missing.status, &missing.json["code"]), (StatusCode::NOT_FOUND, &json!("not-found")));
    let mut numbers = Vec::new();
    let mut cursor = String::new();
    loop {
        let slice = place.get(&format!("handlers/media/history?limit=2{cursor}")).await.json;
        numbers
            .extend(slice["items"].as_array().unwrap().iter().map(|item| item["number"].as_u64().unwrap()));
        let Some(next) = slice["next"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(numbers, [5, 4, 3, 2, 1]);
    assert_eq!(place.get("handlers/media/history?cursor=x").await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_component_comes_in_as_it_was_sent() {
    let (place, handlers) = place(Vec::new());
    let digest = format!("sha-256=:{}:", STANDARD.encode(Sha256::digest(b"\0asm")));
    let headers = [("content-digest", &*digest), ("jobcell-signature", "ed25519:sig")];
    let answer =
        upload(&place, "?activate=true&approve=true&why=faster&generation=6", &headers, b"\0asm").await;
    assert_eq!((answer.status, &answer.json["name"]), (StatusCode::CREATED, &json!("media")));
    assert_eq!(upload(&place, "", &[], b"\0asm").await.status, StatusCode::CREATED);
    assert_eq!(upload(&place, "?canary=5", &[], b"\0asm").await.status, StatusCode::CREATED);
    let deployed = handlers.deployed.lock().unwrap();
    let (first, author) = &deployed[0];
    assert_eq!((&*first.wasm, first.signature.as_deref()), (&b"\0asm"[..], Some("ed25519:sig")));
    assert_eq!((first.then, first.approve), (Then::Activate, true));
    let expected = Author { who: "local".into(), why: "faster".into(), generation: Some(6) };
    assert_eq!(*author, expected);
    assert_eq!((deployed[1].0.then, deployed[1].0.approve), (Then::Stage, false));
    assert_eq!(deployed[2].0.then, Then::Canary { percent: 5 });
}

#[tokio::test]
async fn what_does_not_arrive_whole_is_not_deployed() {
    let (place, handlers) = place(Vec::new());
    let other = format!("sha-256=:{}:", STANDARD.encode(Sha256::digest(b"other")));
    for (query, headers, status) in [
        ("", &[("content-digest", &*other)][..], StatusCode::BAD_REQUEST),
        ("?activate=true&canary=5", &[], StatusCode::BAD_REQUEST),
        ("?canary=0", &[], StatusCode::BAD_REQUEST),
        ("?canary=101", &[], StatusCode::BAD_REQUEST),
        ("?activte=true", &[], StatusCode::BAD_REQUEST),
    ] {
        assert_eq!(upload(&place, query, headers, b"\0asm").await.status, status, "{query}");
    }
    let typed = [("content-type", "text/plain")];
    let request = Request::post("/api/v1/handlers/media/versions").header(header::HOST, "localhost");
    let request = request.header(typed[0].0, typed[0].1).body(Body::from("x")).unwrap();
    assert_eq!(place.send(request).await.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert!(handlers.deployed.lock().unwrap().is_empty());
}

#[tokio::test]
async fn every_move_reaches_the_handler() {
    let (place, handlers) = place(Vec::new());
    let named = |version: &str| Some(json!({ "version": version }));
    for (path, body) in [
        ("activate", Some(json!({ "digest": "ab", "approve": true, "why": "now", "generation": 3 }))),
        ("canary", Some(json!({ "version": "ab", "percent": 5, "minJobs": 9, "maxLatency": 1.5 }))),
        ("promote", None),
        ("rollback", Some(json!({ "why": "slow" }))),
        ("quarantine", named("ab")),
        ("release", named("ab")),
        ("shadow", named("ab")),
        ("shadow", Some(json!({}))),
    ] {
        let answer = place.post(&format!("handlers/media/{path}"), body).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.json);
    }
    let changed = handlers.changed.lock().unwrap();
    let version = || "ab".to_owned();
    let rules = crate::handlers::CanaryLimits {
        min_jobs: Some(9),
        max_latency: Some(1.5),
        ..crate::handlers::CanaryLimits::default()
    };
    let expected = [
        Change::Activate { version: version(), approve: true },
        Change::Canary { version: version(), percent: 5, approve: false, rules },
        Change::Promote,
        Change::Rollback,
        Change::Quarantine { version: version() },
        Change::Release { version: version() },
        Change::Shadow { of: Some((version(), 10)) },
        Change::Shadow { of: None },
    ];
    assert_eq!(changed.iter().map(|(change, _)| change.clone()).collect::<Vec<_>>(), expected);
    assert_eq!(changed[0].1, Author { who: "local".into(), why: "now".into(), generation: Some(3) });
    assert_eq!(changed[3].1.why, "slow");
}

#[tokio::test]
async fn roles_and_tenants_bound_what_is_done_to_handlers() {
    use StatusCode as S;
    let (place, handlers) = place(tokens());
    let none = (S::UNAUTHORIZED, S::UNAUTHORIZED, S::UNAUTHORIZED);
    let viewer = (S::OK, S::FORBIDDEN, S::FORBIDDEN);
    let operator = (S::OK, S::OK, S::FORBIDDEN);
    let admin = (S::OK, S::OK, S::CREATED);
    let acme = (S::FORBIDDEN, S::FORBIDDEN, S::FORBIDDEN);
    for (token, expected) in
        [("", none), ("viewer", viewer), ("operator", operator), ("admin", admin), ("acme", acme)]
    {
        let look = place.ask(Method::GET, "/api/v1/handlers/media", token, None).await.status;
        let moved = place.ask(Method::POST, "/api/v1/handlers/media/rollback", token, None).await.status;
        let bearer = format!("Bearer {token}");
        let deployed = upload(&place, "", &[("authorization", &bearer)], b"\0asm").await.status;
        assert_eq!((look, moved, deployed), expected, "{token:?}");
    }
    let deployed = handlers.deployed.lock().unwrap();
    assert_eq!(deployed.iter().map(|(_, author)| &*author.who).collect::<Vec<_>>(), ["admin"]);
}

#[tokio::test]
async fn a_refusal_says_what_kind_it_is_and_what_a_program_needs() {
    let (place, handlers) = place(Vec::new());
    for (fault, status) in [
        (HandlersFault::Conflict, StatusCode::CONFLICT),
        (HandlersFault::NeedsApproval, StatusCode::CONFLICT),
        (HandlersFault::WrongState, StatusCode::CONFLICT),
        (HandlersFault::Refused, StatusCode::UNPROCESSABLE_ENTITY),
        (HandlersFault::Unsupported, StatusCode::UNPROCESSABLE_ENTITY),
        (HandlersFault::Invalid, StatusCode::BAD_REQUEST),
        (HandlersFault::Unavailable, StatusCode::SERVICE_UNAVAILABLE),
        (HandlersFault::Failed, StatusCode::INTERNAL_SERVER_ERROR),
    ] {
        let told = HandlersError::new(fault, "why, and what to do").with("wider", json!(["cache"]));
        *handlers.fault.lock().unwrap() = Some(told);
        let answer = place.post("handlers/media/promote", None).await;
        assert_eq!(answer.status, status, "{fault:?}");
        assert_eq!(answer.json["code"], fault.as_str());
        assert_eq!(answer.json["details"]["wider"][0], "cache");
        let is_away = fault == HandlersFault::Unavailable;
        assert_eq!(answer.headers.contains_key(header::RETRY_AFTER), is_away, "{fault:?}");
    }
}

#[tokio::test]
async fn every_move_is_audited_with_how_it_was_and_is() {
    let (place, _) = place(tokens());
    let body = Some(json!({ "version": "ab", "approve": true }));
    place.ask(Method::POST, "/api/v1/handlers/media/activate", "operator", body).await;
    upload(&place, "?activate=true", &[("authorization", "Bearer viewer")], b"\0asm").await;
    let entries = place.ask(Method::GET, "/api/v1/audit", "admin", None).await.json;
    let [refused, done] = &entries["items"].as_array().unwrap()[..] else { panic!("{entries}") };
    assert_eq!(
        (&done["who"], &done["target"]),
        (&json!("operator"), &json!("/api/v1/handlers/media/activate"))
    );
    assert_eq!((&done["before"]["generation"], &done["after"]["generation"]), (&json!(7), &json!(7)));
    assert_eq!(
        (&done["after"]["asked"]["version"], &done["after"]["asked"]["approve"]),
        (&json!("ab"), &json!(true))
    );
    assert!(refused["outcome"].as_str().unwrap().starts_with("403"), "{refused}");
}

#[tokio::test]
async fn a_host_whose_handlers_have_no_versions_says_so() {
    let place = Place::open(Vec::new());
    let answer = place.get("handlers").await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    assert!(answer.json["detail"].as_str().unwrap().contains("have no versions"), "{}", answer.json);
}
