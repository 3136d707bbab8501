//! Outgoing https: who is believed, under which name, and when a connection is used again.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use jobcell_core::Outcome;
use jobcell_wasm::{Grants, HandlerRunner, HttpSender, Limits, Services};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use crate::support::names::Names;
use crate::support::peer::{Authority, Peer};
use crate::support::{ENGINE, admitted, attempt, job, run, spec, text};

struct Stage {
    names: Arc<Names>,
    peer: Peer,
    runner: HandlerRunner,
    authority: String,
}

/// A peer behind this TLS, and a handler that may reach it as `api.test` and trusts this authority.
async fn stage(trusted: &Authority, server: ServerConfig) -> Stage {
    let peer = Peer::with_tls(server).await;
    let authority = format!("api.test:{}", peer.port());
    let names = Arc::<Names>::default();
    names.set("api.test", &["127.0.0.1"]);
    let runner = runner(names.sender(&trusted.pem()), &authority);
    Stage { names, peer, runner, authority }
}

fn runner(http: HttpSender, authority: &str) -> HandlerRunner {
    let rule = json!({"url": format!("https://{authority}"), "private": true});
    let grants: Grants = serde_json::from_value(json!({"http": [rule]})).unwrap();
    let services = Services { http, ..Services::default() };
    HandlerRunner::new(&ENGINE, &admitted("capable"), spec(Limits::default(), grants), services).unwrap()
}

async fn get(runner: &HandlerRunner, authority: &str) -> (Value, String) {
    let attempt = attempt(job("raw", json!({"scheme": "https", "authority": authority}).to_string()));
    let outcome = run(runner, &attempt).await.outcome;
    assert!(matches!(outcome, Outcome::Complete(_)), "{outcome:?}");
    (serde_json::from_str(text(&outcome)).unwrap(), attempt.io.take().logs.join("\n"))
}

#[tokio::test]
async fn the_name_of_the_url_is_asked_for_and_checked_at_the_filtered_address() {
    let authority = Authority::new();
    let stage = stage(&authority, authority.server("api.test")).await;
    let (told, log) = get(&stage.runner, &stage.authority).await;
    assert_eq!((&told["status"], &told["body"]), (&json!(200), &json!("ok")), "{told} {log}");
    assert_eq!(stage.peer.server_names(), [Some("api.test".to_owned())]);
    assert!(stage.peer.heads()[0].to_ascii_lowercase().contains(&format!("host: {}", stage.authority)));
    assert_eq!(stage.names.asked(), ["api.test"]);
}

#[tokio::test]
async fn a_connection_is_used_again_by_the_same_handler_only() {
    let authority = Authority::new();
    let stage = stage(&authority, authority.server("api.test")).await;
    for _ in 0..5 {
        assert_eq!(get(&stage.runner, &stage.authority).await.0["status"], 200);
    }
    assert_eq!((stage.peer.connections(), stage.peer.heads().len()), (1, 5));
    // One sender, another handler.
    let sender = stage.names.sender(&authority.pem());
    for (handler, connections) in
        [(runner(sender.clone(), &stage.authority), 2), (runner(sender, &stage.authority), 3)]
    {
        assert_eq!(get(&handler, &stage.authority).await.0["status"], 200);
        assert_eq!(stage.peer.connections(), connections);
    }
}

#[tokio::test]
async fn certificates_that_do_not_fit_are_typed_errors() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let cases = [
        (authority.expired("api.test"), "expired"),
        (authority.server("other.test"), "api.test"),
        (stranger.server("api.test"), "UnknownIssuer"),
    ];
    for (server, said) in cases {
        let stage = stage(&authority, server).await;
        let (told, log) = get(&stage.runner, &stage.authority).await;
        assert_eq!(told["error"], "ErrorCode::TlsCertificateError", "{said}: {told}");
        assert!(log.contains(said), "{said}: {log}");
        assert_eq!(stage.peer.heads().len(), 0, "{said}");
    }
}

#[tokio::test]
async fn an_authority_of_ones_own_is_trusted_only_where_it_is_named() {
    let authority = Authority::new();
    let stage = stage(&authority, authority.server("api.test")).await;
    let without = runner(stage.names.sender(""), &stage.authority);
    let (told, _) = get(&without, &stage.authority).await;
    assert_eq!(told["error"], "ErrorCode::TlsCertificateError", "{told}");
    let error =
        HttpSender::new(None, b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----").unwrap_err();
    assert!(error.to_string().contains("authorities"), "{error}");
}

#[tokio::test]
async fn https_never_falls_back_to_plain_text() {
    let authority = Authority::new();
    let plain = Peer::start(crate::support::peer::ok).await;
    let names = Arc::<Names>::default();
    names.set("api.test", &["127.0.0.1"]);
    let at = format!("api.test:{}", plain.port());
    let (told, _) = get(&runner(names.sender(&authority.pem()), &at), &at).await;
    let code = told["error"].as_str().unwrap();
    assert!(
        ["Tls", "ConnectionTerminated", "HttpResponseIncomplete"].iter().any(|known| code.contains(known)),
        "{code}"
    );
    assert_eq!(plain.heads().len(), 0);
}

#[tokio::test]
async fn a_name_that_moves_to_a_forbidden_address_fails_before_tls() {
    let authority = Authority::new();
    let stage = stage(&authority, authority.server("api.test")).await;
    stage.names.set("api.test", &["169.254.169.254"]);
    let (told, _) = get(&stage.runner, &stage.authority).await;
    assert_eq!(told["error"], "ErrorCode::DestinationIpProhibited");
    assert_eq!(stage.peer.connections(), 0);
}

/// A far end that speaks HTTP/2 only, and how many connections it has had. `/wide` answers with a very long header.
async fn h2_peer(mut tls: ServerConfig) -> (SocketAddr, Arc<AtomicUsize>) {
    tls.alpn_protocols = vec![b"h2".to_vec()];
    let (listener, tls) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), TlsAcceptor::from(Arc::new(tls)));
    let (address, connections) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&connections);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::Relaxed);
            let tls = tls.clone();
            tokio::spawn(async move {
                let stream = TokioIo::new(tls.accept(stream).await.ok()?);
                let answer = service_fn(|request: hyper::Request<Incoming>| async move {
                    let text = format!("{:?} {}", request.version(), request.uri());
                    let wide = if request.uri().path() == "/wide" { 100_000 } else { 1 };
                    let response = hyper::Response::builder().header("x", "y".repeat(wide));
                    Ok::<_, Infallible>(response.body(Full::new(Bytes::from(text))).unwrap())
                });
                let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                server.serve_connection(stream, answer).await.ok()
            });
        }
    });
    (address, connections)
}

#[tokio::test]
async fn http2_is_spoken_where_it_is_offered_and_shared_no_further() {
    let authority = Authority::new();
    let (address, connections) = h2_peer(authority.server("api.test")).await;
    let names = Arc::<Names>::default();
    names.set("api.test", &["127.0.0.1"]);
    let at = format!("api.test:{}", address.port());
    let (sender, first) = (names.sender(&authority.pem()), 1);
    let handler = runner(sender.clone(), &at);
    for _ in 0..3 {
        let (told, log) = get(&handler, &at).await;
        assert_eq!(told["body"], format!("HTTP/2.0 https://{at}/"), "{told} {log}");
        assert_eq!(connections.load(Ordering::Relaxed), first);
    }
    assert_eq!(get(&runner(sender, &at), &at).await.0["status"], 200);
    assert_eq!(connections.load(Ordering::Relaxed), first + 1);
    let wide = json!({"scheme": "https", "authority": at, "path": "/wide"});
    let attempt = attempt(job("raw", wide.to_string()));
    let told: Value = serde_json::from_str(text(&run(&handler, &attempt).await.outcome)).unwrap();
    assert!(told["error"].as_str().unwrap().contains("ErrorCode::Http"), "{told}");
}
