//! Secrets: where they go, and everywhere they must not show.

use std::sync::Arc;

use jobcell_core::{Outcome, Runner};
use jobcell_wasm::{Grants, HandlerRunner, Limits, Secrets, Services};
use serde_json::{Value, json};

use crate::support::peer::{Line, Peer, ok};
use crate::support::{ENGINE, admitted, attempt, job, run, spec, text};

const VALUE: &str = "sk_live \"51&H+q";

fn runner_with(value: &str, reveal: bool, rules: Value) -> HandlerRunner {
    let grants = json!({"http": rules, "secrets": [{"name": "key", "reveal": reveal}]});
    let grants: Grants = serde_json::from_value(grants).unwrap();
    let secrets = Secrets::new([("key".to_owned(), value.to_owned())]);
    let services = Services { secrets: Arc::new(secrets), ..Services::default() };
    HandlerRunner::new(&ENGINE, &admitted("capable"), spec(Limits::default(), grants), services).unwrap()
}

fn runner(peer: &Peer, places: Option<Value>) -> HandlerRunner {
    let secret = places.map_or(json!("key"), |places| json!({"name": "key", "in": places}));
    let rule = json!({"url": format!("http://{}", peer.address), "private": true, "secrets": [secret]});
    runner_with(VALUE, false, json!([rule]))
}

async fn raw(runner: &HandlerRunner, peer: &Peer, mut request: Value) -> (Value, String) {
    request["authority"] = json!(peer.address.to_string());
    let attempt = attempt(job("raw", request.to_string()));
    let outcome = run(runner, &attempt).await.outcome;
    let log = attempt.io.take().logs.join("\n");
    assert!(matches!(outcome, Outcome::Complete(_)), "{outcome:?} {log}");
    (serde_json::from_str(text(&outcome)).unwrap(), log)
}

#[tokio::test]
async fn a_secret_stands_only_where_its_rule_lets_it() {
    let peer = Peer::start(ok).await;
    let request = json!({
        "method": "POST",
        "path": "/{key}?q={key}",
        "headers": [["authorization", "Bearer {key}"], ["x-api-key", "{key}"], ["x-amz-meta-note", "{key}"],
                    ["content-type", "application/json"]],
        "body": "[\"{key}\"]",
    });
    let credentials = runner(&peer, None);
    let (_, log) = raw(&credentials, &peer, request.clone()).await;
    let head = peer.heads().remove(0);
    assert!(head.contains(&format!("authorization: Bearer {VALUE}\r\n")), "{head}");
    assert!(head.contains(&format!("x-api-key: {VALUE}\r\n")), "{head}");
    assert_eq!(head.matches("sk_live").count(), 2, "{head}");
    for place in ["url", "body", "header:x-amz-meta-note"] {
        let line = format!("{{ name = \"key\", in = [\"{place}\"] }}");
        assert!(log.contains(&line), "{place}: {log}");
    }
    let elsewhere = runner(&peer, Some(json!(["url", "body"])));
    let (_, log) = raw(&elsewhere, &peer, request).await;
    let head = peer.heads().remove(1);
    assert!(head.starts_with("POST /sk_live%20%2251%26H%2Bq?q=sk_live%20%2251%26H%2Bq "), "{head}");
    assert!(head.ends_with("[\"sk_live \\\"51&H+q\"]"), "{head}");
    assert!(head.contains("authorization: Bearer jobcell-secret-"), "{head}");
    assert!(log.contains("add secrets = [\"key\"]"), "{log}");
    assert!(!log.contains("sk_live"), "{log}");
}

#[tokio::test]
async fn a_secret_that_is_no_header_or_leads_away_is_refused_unseen() {
    let peer = Peer::start(ok).await;
    let rule = |path: &str, places: Value| {
        json!([{"url": format!("http://{}{path}", peer.address), "private": true,
                "secrets": [{"name": "key", "in": places}]}])
    };
    let split = runner_with("line one\r\nHost: evil", false, rule("", json!(["header:authorization"])));
    let (told, log) = raw(&split, &peer, json!({"headers": [["authorization", "{key}"]]})).await;
    assert!(told["error"].as_str().unwrap().contains("HttpRequestHeaderSize"), "{told}");
    assert!(!log.contains("line one") && !told.to_string().contains("line one"), "{log} {told}");
    let climbing = runner_with("..", false, rule("/v1/*", json!(["url"])));
    let (told, _) = raw(&climbing, &peer, json!({"path": "/v1/{key}/admin"})).await;
    assert_eq!(told["error"], "ErrorCode::HttpRequestUriInvalid");
    let long = runner_with(&"x".repeat(60_000), false, rule("", json!(["url", "body", "header:x"])));
    for request in [
        json!({"path": format!("/{}", "{key}".repeat(20))}),
        json!({"headers": [["x", "{key}".repeat(20)]]}),
        json!({"body": "{key}".repeat(1000), "method": "POST"}),
    ] {
        let (told, _) = raw(&long, &peer, request).await;
        let code = told["error"].as_str().unwrap();
        assert!(code.contains("Size") || code.contains("UriTooLong"), "{code}");
    }
    assert_eq!(peer.heads(), [""; 0]);
}

#[tokio::test]
async fn a_peer_that_echoes_a_secret_in_headers_gives_back_its_placeholder() {
    let peer = Peer::start(|mut line: Line| async move {
        loop {
            let head = line.request().await?;
            let sent = head.lines().find_map(|line| line.strip_prefix("authorization: "))?.to_owned();
            let coded = sent.replace(' ', "%20").replace('"', "%22").replace('&', "%26").replace('+', "%2B");
            line.say(format!(
                "HTTP/1.1 302 Found\r\nlocation: /next?token={coded}\r\nx-seen: {sent}\r\ncontent-length: 0\r\n\r\n"
            ))
            .await?;
        }
    })
    .await;
    let runner = runner(&peer, Some(json!(["header:authorization", "url"])));
    let (told, _) = raw(&runner, &peer, json!({"headers": [["authorization", "{key}"]]})).await;
    assert!(!told.to_string().contains("sk_live"), "{told}");
    let header = |told: &Value, name: &str| {
        let headers = told["headers"].as_array().unwrap();
        headers.iter().find(|pair| pair[0] == name).unwrap()[1].as_str().unwrap().to_owned()
    };
    assert!(header(&told, "x-seen").starts_with("jobcell-secret-"), "{told}");
    // Where it points can still be reached: the placeholder is replaced on its way out.
    let next = header(&told, "location");
    raw(&runner, &peer, json!({"path": next, "headers": [["authorization", "{key}"]]})).await;
    assert!(peer.heads()[1].starts_with("GET /next?token=sk_live%20%2251%26H%2Bq "), "{:?}", peer.heads());
}

#[tokio::test]
async fn a_peer_that_echoes_a_secret_in_a_body_gives_back_asterisks() {
    let peer = Peer::start(|mut line: Line| async move {
        loop {
            let head = line.request().await?;
            let sent = head.lines().find_map(|line| line.strip_prefix("authorization: "))?.to_owned();
            let (start, end) = sent.split_at(5);
            let length = sent.len() * 2 + 3;
            line.say(format!("HTTP/1.1 401 No\r\ncontent-length: {length}\r\n\r\n<{sent}|{start}")).await?;
            // The rest in a piece of its own.
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            line.say(format!("{end}>")).await?;
        }
    })
    .await;
    let (told, _) = raw(&runner(&peer, None), &peer, json!({"headers": [["authorization", "{key}"]]})).await;
    let stars = "*".repeat(VALUE.len());
    assert_eq!(told["body"], format!("<{stars}|{stars}>"), "{told}");
    // A handler that may see it gets it as it is.
    let rule = json!({"url": format!("http://{}", peer.address), "private": true, "secrets": ["key"]});
    let seeing = runner_with(VALUE, true, json!([rule]));
    let (told, _) = raw(&seeing, &peer, json!({"headers": [["authorization", "{key}"]]})).await;
    assert_eq!(told["body"], format!("<{VALUE}|{VALUE}>"), "{told}");
}

#[tokio::test]
async fn what_a_handler_says_is_free_of_its_secrets() {
    let runner = runner_with(VALUE, true, json!(["https://granted.example"]));
    for how in ["log", "print", "progress", "fatal", "retry", "panic"] {
        let attempt = attempt(job("leak", json!({"secret": "key", "how": how}).to_string()));
        let report = runner.run(attempt.clone()).await;
        let said = attempt.io.take();
        let progress =
            said.progress.map(|json| String::from_utf8(json.to_vec()).unwrap()).unwrap_or_default();
        let shown = format!("{:?} {:?} {progress} {:?}", report.outcome, said.logs, report.receipt);
        assert!(shown.contains("[secret key]"), "{how}: {shown}");
        assert!(!shown.contains("sk_live"), "{how}: {shown}");
        if how == "progress" {
            assert_eq!(serde_json::from_str::<Value>(&progress).unwrap(), "at [secret key]");
        }
    }
    // What is revealed is the handler's: its results are data.
    let outcome = run(&runner, &attempt(job("reveal", "\"key\""))).await.outcome;
    assert_eq!(serde_json::from_str::<String>(text(&outcome)).unwrap(), VALUE);
}
