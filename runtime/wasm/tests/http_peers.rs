//! Far ends that misbehave: what a handler gets, and that it gets it in time.

use std::time::{Duration, Instant};

use jobcell_core::Outcome;
use jobcell_wasm::{Grants, HandlerRunner, HttpLimits, Limits, Services};
use serde_json::{Value, json};

use crate::support::peer::{Line, Peer, ok};
use crate::support::{ENGINE, admitted, attempt, job, run, spec, text};

fn runner(peer: &Peer, http: HttpLimits) -> HandlerRunner {
    let rule = json!({"url": format!("http://{}", peer.address), "private": true});
    let grants: Grants = serde_json::from_value(json!({"http": [rule]})).unwrap();
    let limits = Limits { http, ..Limits::default() };
    HandlerRunner::new(&ENGINE, &admitted("capable"), spec(limits, grants), Services::default()).unwrap()
}

/// What one request became, and how long it took.
async fn get(runner: &HandlerRunner, peer: &Peer, mut request: Value) -> (Value, Duration) {
    request["authority"] = json!(peer.address.to_string());
    let began = Instant::now();
    let attempt = attempt(job("raw", request.to_string()));
    let outcome = run(runner, &attempt).await.outcome;
    assert!(matches!(outcome, Outcome::Complete(_)), "{outcome:?} {:?}", attempt.io.take().logs);
    (serde_json::from_str(text(&outcome)).unwrap(), began.elapsed())
}

fn quick() -> HttpLimits {
    HttpLimits { timeout: Duration::from_millis(300), download: 200_000, ..HttpLimits::default() }
}

/// A handler with a quick timeout against a peer that says this after a request, over and over: the error's code.
async fn flooded(first: &'static str, then: String, pause: Duration) -> String {
    let peer = Peer::start(move |mut line: Line| {
        let then = then.clone();
        async move {
            line.request().await?;
            line.say(first).await?;
            loop {
                line.say(&then).await?;
                tokio::time::sleep(pause).await;
            }
        }
    })
    .await;
    let runner = runner(&peer, quick());
    let (told, took) = get(&runner, &peer, json!({})).await;
    assert!(took < Duration::from_secs(10), "{first:?}: {took:?}");
    told["error"].as_str().unwrap_or_else(|| panic!("{first:?}: {told}")).to_owned()
}

const NO_PAUSE: Duration = Duration::ZERO;
const HEAD: &str = "HTTP/1.1 200 OK\r\n";

#[tokio::test]
async fn a_head_that_never_ends_is_given_up() {
    let drip = Duration::from_millis(20);
    // One byte after the other: no single wait is long, but the head has one deadline.
    assert_eq!(
        flooded("HTTP/1.1 200 OK\r\nx: ", "y".to_owned(), drip).await,
        "ErrorCode::HttpResponseTimeout"
    );
    assert_eq!(flooded("", "\r\n".to_owned(), drip).await, "ErrorCode::HttpResponseTimeout");
    let hints = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n".to_owned();
    assert_eq!(flooded("", hints.clone(), drip).await, "ErrorCode::HttpResponseTimeout");
    assert_eq!(flooded("", hints.repeat(100), NO_PAUSE).await, "ErrorCode::HttpResponseTimeout");
    assert_eq!(
        flooded("", "HTTP/1.1 100 Continue\r\n\r\n".repeat(100), NO_PAUSE).await,
        "ErrorCode::HttpResponseTimeout"
    );
    let long = flooded(HEAD, format!("x: {}\r\n", "y".repeat(10_000)), NO_PAUSE).await;
    assert_eq!(long, "ErrorCode::HttpResponseHeaderSectionSize(None)");
    let one_line = flooded("HTTP/1.1 200 OK\r\nx: ", "y".repeat(10_000), NO_PAUSE).await;
    assert_eq!(one_line, "ErrorCode::HttpResponseHeaderSectionSize(None)");
}

#[tokio::test]
async fn too_many_headers_are_a_typed_error() {
    for headers in [101, 32_769] {
        let peer = Peer::start(move |mut line: Line| async move {
            line.request().await?;
            let many: String = (0..headers).map(|n| format!("h{n}: v\r\n")).collect();
            line.say(format!("{HEAD}{many}content-length: 0\r\n\r\n")).await
        })
        .await;
        let (told, _) = get(&runner(&peer, HttpLimits::default()), &peer, json!({})).await;
        assert_eq!(told["error"], "ErrorCode::HttpResponseHeaderSectionSize(None)", "{headers}");
    }
}

#[tokio::test]
async fn a_head_counts_as_received() {
    let peer = Peer::start(|mut line: Line| async move {
        line.request().await?;
        line.say(format!("{HEAD}x: {}\r\ncontent-length: 0\r\n\r\n", "y".repeat(5000))).await
    })
    .await;
    let limits = HttpLimits { download: 4000, ..HttpLimits::default() };
    let (told, _) = get(&runner(&peer, limits), &peer, json!({})).await;
    assert!(told["error"].as_str().unwrap().contains("HttpResponseHeaderSectionSize(Some(50"), "{told}");
}

#[tokio::test]
async fn a_body_that_never_ends_is_given_up() {
    let flood = flooded("HTTP/1.1 200 OK\r\n\r\n", "x".repeat(50_000), NO_PAUSE).await;
    assert!(flood.contains("HttpResponseBodySize"), "{flood}");
    let chunks = format!("{:x}\r\n{}\r\n", 50_000, "x".repeat(50_000));
    let flood = flooded("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", chunks, NO_PAUSE).await;
    assert!(flood.contains("HttpResponseBodySize"), "{flood}");
    let silent = Peer::start(|mut line: Line| async move {
        line.request().await?;
        line.say("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nx").await?;
        std::future::pending().await
    })
    .await;
    let (told, took) = get(&runner(&silent, quick()), &silent, json!({})).await;
    assert_eq!(told["error"], "Some(ErrorCode::ConnectionReadTimeout)");
    assert!(took < Duration::from_secs(10), "{took:?}");
}

#[tokio::test]
async fn a_body_that_drips_ends_with_its_attempt() {
    let peer = Peer::start(|mut line: Line| async move {
        line.request().await?;
        line.say("HTTP/1.1 200 OK\r\n\r\n").await?;
        loop {
            line.say("x").await?;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let rule = json!({"url": format!("http://{}", peer.address), "private": true});
    let grants: Grants = serde_json::from_value(json!({"http": [rule]})).unwrap();
    let limits = Limits { deadline: Duration::from_millis(500), ..Limits::default() };
    let runner =
        HandlerRunner::new(&ENGINE, &admitted("capable"), spec(limits, grants), Services::default()).unwrap();
    let attempt = attempt(job("raw", json!({"authority": peer.address.to_string()}).to_string()));
    let began = Instant::now();
    let outcome = run(&runner, &attempt).await.outcome;
    assert!(matches!(outcome, Outcome::Stopped(_)), "{outcome:?}");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test]
async fn trailers_are_bounded() {
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n";
    let endless = flooded(chunked, format!("x: {}\r\n", "y".repeat(1000)), NO_PAUSE).await;
    assert!(endless.contains("ErrorCode::"), "{endless}");
    let dripping = flooded(chunked, "x: y\r\n".to_owned(), Duration::from_millis(20)).await;
    assert!(dripping.contains("ConnectionReadTimeout"), "{dripping}");
    let peer = Peer::start(move |mut line: Line| async move {
        line.request().await?;
        line.say(format!("{chunked}x: y\r\n\r\n")).await
    })
    .await;
    let (told, _) = get(&runner(&peer, quick()), &peer, json!({})).await;
    assert_eq!((&told["body"], &told["error"]), (&json!("ok"), &Value::Null), "{told}");
}

#[tokio::test]
async fn broken_answers_are_typed_errors_and_hurt_nobody_else() {
    let cases = [
        ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello!", "HttpProtocolError"),
        ("HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n", "HttpProtocolError"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999\r\n\r\n", "HttpProtocolError"),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", "HttpProtocolError"),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\n", "HttpProtocolError"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort", "ConnectionTerminated"),
        (
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
            "HttpUpgradeFailed",
        ),
        ("HTTP/1.1 999999 OK\r\n\r\n", "HttpProtocolError"),
        ("HTTP/9.9 200 OK\r\n\r\n", "HttpProtocolError"),
        ("200 OK\r\n\r\n", "HttpProtocolError"),
        ("HTTP/1.1 200 OK\r\nx\u{0}y: z\r\n\r\n", "HttpProtocolError"),
        ("\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}", "HttpProtocolError"),
        ("", "HttpResponseIncomplete"),
    ];
    for (answer, expected) in cases {
        let peer = Peer::start(move |mut line: Line| async move {
            line.request().await?;
            line.say(answer).await
        })
        .await;
        let (told, _) = get(&runner(&peer, quick()), &peer, json!({})).await;
        let code = told["error"].as_str().unwrap_or_else(|| panic!("{answer:?}: {told}"));
        assert!(code.contains(expected), "{answer:?}: {code}");
    }
}

#[tokio::test]
async fn an_answer_nobody_asked_for_is_nobodys() {
    // Two answers to one request: the second would be taken for that of the next, were the connection used again.
    let peer = Peer::start(|mut line: Line| async move {
        let head = line.request().await?;
        if head.starts_with("GET /poison") {
            let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n";
            line.say(format!("{answer}ok{answer}no")).await?;
        }
        line.say("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ntrue").await?;
        ok(line).await
    })
    .await;
    let runner = runner(&peer, HttpLimits::default());
    assert_eq!(get(&runner, &peer, json!({"path": "/poison"})).await.0["body"], "ok");
    assert_eq!(get(&runner, &peer, json!({"path": "/next"})).await.0["body"], "true");
    assert_eq!(peer.connections(), 2);
}

#[tokio::test]
async fn compressed_answers_come_as_they_are() {
    // A kilobyte of zeros that would be a megabyte: nobody unpacks it, so it counts as what it is.
    let peer = Peer::start(|mut line: Line| async move {
        line.request().await?;
        line.say("HTTP/1.1 200 OK\r\ncontent-encoding: gzip, br\r\ncontent-length: 5\r\n\r\nstill").await
    })
    .await;
    let request = json!({"headers": [["accept-encoding", "gzip, br, zstd, deflate"]]});
    let (told, _) = get(&runner(&peer, HttpLimits::default()), &peer, request).await;
    assert_eq!(told["body"], "still");
    assert!(told["headers"].as_array().unwrap().contains(&json!(["content-encoding", "gzip, br"])), "{told}");
    assert!(peer.heads()[0].contains("gzip, br, zstd, deflate"));
}

#[tokio::test]
async fn timeouts_of_any_size_are_clamped() {
    let hanging = Peer::start(|mut line: Line| async move {
        line.request().await?;
        std::future::pending().await
    })
    .await;
    let runner = runner(&hanging, quick());
    let (zero, huge) = (Some(0), Some(u64::MAX));
    for timeouts in [[zero; 3], [huge; 3], [zero, huge, None], [huge, zero, zero], [None, Some(1), huge]] {
        let (told, took) = get(&runner, &hanging, json!({"timeouts": timeouts})).await;
        assert!(told["error"].as_str().unwrap().contains("Timeout"), "{timeouts:?}: {told}");
        assert!(took < Duration::from_secs(5), "{timeouts:?}: {took:?}");
    }
}

#[tokio::test]
async fn a_receipt_tells_where_requests_went_and_what_they_carried() {
    let peer = Peer::start(ok).await;
    let runner = runner(&peer, HttpLimits { requests: 1, ..HttpLimits::default() });
    let request = json!({"authority": peer.address.to_string(), "method": "POST", "body": "hello"});
    let receipt = run(&runner, &attempt(job("raw", request.to_string()))).await.receipt;
    let gone: Vec<_> = receipt.destinations.iter().cloned().collect();
    assert_eq!(gone.len(), 1, "{receipt:?}");
    assert_eq!((gone[0].requests, gone[0].sent, gone[0].received), (1, 5, 2), "{receipt:?}");
    assert_eq!(gone[0].host, peer.address.to_string());
    assert!(receipt.near.iter().any(|near| near.name == "http.requests"), "{receipt:?}");
}
