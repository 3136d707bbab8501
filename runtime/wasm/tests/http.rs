//! Outgoing HTTP against a server on loopback: what may leave, what it looks like when it does, and what ends it.

use std::sync::Arc;
use std::time::Duration;

use jobcell_core::{Outcome, Runner, StopCause};
use jobcell_wasm::{Grants, HandlerRunner, HttpLimits, Limits, Secrets, Services};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::timeout;

use crate::support::server::Server;
use crate::support::{ENGINE, PATIENCE, admitted, attempt, job, run, spec, stopped, text};

/// A handler with these rules, and one secret that it may use.
fn fetcher(rules: Value, limits: Limits) -> HandlerRunner {
    let grants = json!({"http": rules, "secrets": ["key"]});
    let grants: Grants = serde_json::from_value(grants).unwrap();
    let secrets = Secrets::new([("key".to_owned(), "s3cr3t \"v&lue\"".to_owned())]);
    let services = Services { secrets: Arc::new(secrets), ..Services::default() };
    HandlerRunner::new(&ENGINE, &admitted("capable"), spec(limits, grants), services).unwrap()
}

fn private(server: &Server) -> Value {
    json!([{"url": server.url(""), "private": true, "secrets": ["key"]}])
}

/// The outcome of one request, and the job's log.
async fn fetch(runner: &HandlerRunner, request: Value) -> (Outcome, String) {
    let attempt = attempt(job("fetch", request.to_string()));
    let outcome = run(runner, &attempt).await.outcome;
    (outcome, attempt.io.take().logs.join("\n"))
}

fn answer(outcome: &Outcome) -> Value {
    serde_json::from_str(text(outcome)).unwrap()
}

#[tokio::test]
async fn a_granted_request_leaves_and_its_answer_comes_back() {
    let server = Server::start().await;
    let runner = fetcher(private(&server), Limits::default());
    let request = json!({"url": server.url("/a/b?c=d"), "method": "POST", "body": "{\"x\":1}"});
    let (outcome, _) = fetch(&runner, request).await;
    let got = answer(&outcome);
    assert_eq!((&got["status"], &got["body"]), (&json!(200), &json!("ok")));
    assert!(got["headers"].as_array().unwrap().contains(&json!(["x-served", "yes"])), "{got}");
    let received = server.received().remove(0);
    assert_eq!(received.line, "POST /a/b?c=d HTTP/1.1");
    assert_eq!(received.body, b"{\"x\":1}");
    assert_eq!(received.header("content-length"), Some("7"));
    assert_eq!(received.header("transfer-encoding"), None);
    assert_eq!(received.header("host"), Some(server.address.to_string().as_str()));
    assert!(received.header("user-agent").unwrap().starts_with("jobcell/"));
}

#[tokio::test]
async fn every_method_goes_as_it_is() {
    let server = Server::start().await;
    let runner = fetcher(private(&server), Limits::default());
    for method in ["GET", "HEAD", "PUT", "PATCH", "DELETE"] {
        let (outcome, _) = fetch(&runner, json!({"url": server.url("/"), "method": method})).await;
        // A HEAD has no body whatever its length says, which the little server does not heed.
        assert!(matches!(outcome, Outcome::Complete(_)), "{method}: {outcome:?}");
        assert!(server.received().last().unwrap().line.starts_with(method), "{method}");
    }
}

#[tokio::test]
async fn what_no_rule_covers_is_denied_with_the_line_to_add() {
    let server = Server::start().await;
    let rules = json!([{"url": server.url("/v1/*"), "methods": ["GET"], "private": true}]);
    let runner = fetcher(rules, Limits::default());
    let (outcome, _) = fetch(&runner, json!({"url": server.url("/v1/x")})).await;
    assert_eq!(answer(&outcome)["status"], 200);
    let denied = [
        json!({"url": server.url("/v2/x")}),
        json!({"url": server.url("/v1/x"), "method": "POST"}),
        json!({"url": server.url("/v1/../v2")}),
        json!({"url": "https://example.com/"}),
        json!({"url": format!("http://localhost:{}/v1/x", server.address.port())}),
        json!({"url": "http://127.0.0.1:1/v1/x"}),
    ];
    for request in denied {
        let (outcome, log) = fetch(&runner, request.clone()).await;
        assert!(matches!(outcome, Outcome::Fatal(_)), "{request}: {outcome:?}");
        assert!(
            log.contains("is not granted") && log.contains("[handlers.tested.grants]"),
            "{request}: {log}"
        );
        assert!(log.contains("http = [{ url = \""), "{log}");
        // Without it the configuration would refuse the very line.
        let own = log.contains("localhost") || log.contains("127.0.0.1");
        assert_eq!(log.contains("private = true"), own, "{log}");
    }
    let (_, log) = fetch(&runner, json!({"url": "http://169.254.169.254/latest/meta-data/"})).await;
    assert!(log.contains("only a rule for this very address") && !log.contains("to allow it"), "{log}");
    let (_, log) = fetch(&runner, json!({"url": "https://example.com/x?token=hidden"})).await;
    assert!(log.contains("https://example.com/x") && !log.contains("hidden"), "{log}");
    assert_eq!(server.received().len(), 1);
}

#[tokio::test]
async fn addresses_of_this_machine_are_out_of_reach_for_public_rules() {
    let server = Server::start().await;
    let port = server.address.port();
    // Granted by name or by pattern, never by address; each leads here or to the metadata service.
    let rules = json!([
        format!("http://*:{port}"),
        format!("http://localtest.localdomain:{port}"),
        "http://*",
        "https://*",
    ]);
    let runner = fetcher(rules, Limits::default());
    for host in [
        "127.0.0.1",
        "0x7f.1",
        "2130706433",
        "017700000001",
        "127.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "0.0.0.0",
    ] {
        let (outcome, _) = fetch(&runner, json!({"url": format!("http://{host}:{port}/")})).await;
        assert!(matches!(outcome, Outcome::Fatal(_) | Outcome::Retry { .. }), "{host}: {outcome:?}");
    }
    let (outcome, log) = fetch(&runner, json!({"url": format!("http://localhost:{port}/")})).await;
    assert!(!matches!(outcome, Outcome::Complete(_)), "{outcome:?}");
    assert!(log.contains("loopback"), "{log}");
    for url in
        ["http://169.254.169.254/latest/meta-data/", "http://[fd00:ec2::254]/", "http://metadata@localhost/"]
    {
        let (outcome, _) = fetch(&runner, json!({"url": url})).await;
        assert!(!matches!(outcome, Outcome::Complete(_)), "{url}: {outcome:?}");
    }
    assert_eq!(server.received().len(), 0);
}

#[tokio::test]
async fn a_private_name_is_reached_only_by_a_rule_that_says_so() {
    let server = Server::start().await;
    let url = format!("http://localhost:{}", server.address.port());
    let runner = fetcher(json!([{"url": url, "private": true}]), Limits::default());
    let (outcome, _) = fetch(&runner, json!({"url": format!("{url}/x")})).await;
    assert_eq!(answer(&outcome)["status"], 200);
}

#[tokio::test]
async fn a_secret_is_put_in_its_place_only_where_its_rule_lists_it() {
    let (trusted, other) = (Server::start().await, Server::start().await);
    let rules = json!([
        {"url": trusted.url(""), "private": true,
         "secrets": [{"name": "key", "in": ["header:authorization", "url", "body"]}]},
        {"url": other.url(""), "private": true},
    ]);
    let runner = fetcher(rules, Limits::default());
    let (outcome, log) = fetch(&runner, json!({"url": trusted.url("/"), "bearer": "key"})).await;
    assert_eq!(answer(&outcome)["status"], 200);
    assert_eq!(log, "");
    assert_eq!(trusted.received()[0].header("authorization"), Some("Bearer s3cr3t \"v&lue\""));

    let (outcome, log) = fetch(&runner, json!({"url": other.url("/"), "bearer": "key"})).await;
    assert_eq!(answer(&outcome)["status"], 200);
    let sent = other.received()[0].header("authorization").unwrap().to_owned();
    assert!(sent.starts_with("Bearer jobcell-secret-") && !sent.contains("s3cr3t"), "{sent}");
    assert!(log.contains("secrets = [\"key\"]") && !log.contains("s3cr3t"), "{log}");

    // The stand-in, learnt once, works in the URL and in the body as well.
    let stand_in = sent.strip_prefix("Bearer ").unwrap();
    let request = json!({"url": trusted.url(&format!("/p/{stand_in}?q={stand_in}")), "method": "POST", "body": stand_in});
    let (outcome, _) = fetch(&runner, request).await;
    assert_eq!(answer(&outcome)["status"], 200);
    let received = trusted.received().remove(1);
    assert_eq!(received.line, "POST /p/s3cr3t%20%22v%26lue%22?q=s3cr3t%20%22v%26lue%22 HTTP/1.1");
    assert_eq!(received.body, b"s3cr3t \"v&lue\"");
    assert_eq!(received.header("content-length"), Some("14"));
    // Not even in the name of a host.
    let (outcome, _) = fetch(&runner, json!({"url": format!("http://{stand_in}.example/")})).await;
    assert!(!matches!(outcome, Outcome::Complete(_)));
}

#[tokio::test]
async fn redirects_are_not_followed_and_nothing_is_unpacked() {
    let server = Server::start().await;
    let runner = fetcher(private(&server), Limits::default());
    let (outcome, _) = fetch(&runner, json!({"url": server.url("/redirect")})).await;
    assert_eq!(answer(&outcome)["status"], 302);
    let (outcome, _) = fetch(&runner, json!({"url": server.url("/zipped")})).await;
    assert_eq!(answer(&outcome)["body"], "still");
    let (outcome, _) = fetch(&runner, json!({"url": server.url("/limited")})).await;
    assert!(answer(&outcome)["headers"].to_string().contains("retry-after"));
    assert_eq!(server.received().len(), 3);
}

#[tokio::test]
async fn bodies_keep_to_their_limits() {
    let server = Server::start().await;
    let http = HttpLimits { upload: 1000, download: 50_000, ..HttpLimits::default() };
    let runner = fetcher(private(&server), Limits { http, ..Limits::default() });
    let (outcome, _) = fetch(&runner, json!({"url": server.url("/big")})).await;
    assert!(!matches!(outcome, Outcome::Complete(_)), "{outcome:?}");
    let request = json!({"url": server.url("/"), "method": "PUT", "body": "x".repeat(1001)});
    let (outcome, log) = fetch(&runner, request).await;
    assert!(!matches!(outcome, Outcome::Complete(_)), "{outcome:?}");
    assert!(log.contains("request body size"), "{log}");
    let request = json!({"url": server.url("/"), "method": "PUT", "body": "x".repeat(1000)});
    let (outcome, _) = fetch(&runner, request).await;
    assert_eq!(answer(&outcome)["status"], 200);
    assert_eq!(server.received().len(), 2);
}

#[tokio::test]
async fn the_number_of_requests_keeps_to_its_limit() {
    let server = Server::start().await;
    let http = HttpLimits { requests: 0, ..HttpLimits::default() };
    let runner = fetcher(private(&server), Limits { http, ..Limits::default() });
    let (outcome, log) = fetch(&runner, json!({"url": server.url("/")})).await;
    assert!(matches!(outcome, Outcome::Fatal(_)), "{outcome:?}");
    assert!(log.contains("limit of 0 requests"), "{log}");
    let http = HttpLimits { concurrent: 0, ..HttpLimits::default() };
    let runner = fetcher(private(&server), Limits { http, ..Limits::default() });
    let (outcome, log) = fetch(&runner, json!({"url": server.url("/")})).await;
    assert!(!matches!(outcome, Outcome::Complete(_)), "{outcome:?}");
    assert!(log.contains("which is the limit"), "{log}");
    assert_eq!(server.received().len(), 0);
}

#[tokio::test]
async fn a_silent_far_end_is_given_up() {
    let server = Server::start().await;
    let http = HttpLimits { timeout: Duration::from_millis(200), ..HttpLimits::default() };
    let runner = fetcher(private(&server), Limits { http, ..Limits::default() });
    for path in ["/hang", "/drip"] {
        let (outcome, _) = fetch(&runner, json!({"url": server.url(path)})).await;
        assert!(matches!(outcome, Outcome::Retry { .. }), "{path}: {outcome:?}");
    }
    // The guest's own, shorter wish; even none at all does no harm.
    let runner = fetcher(private(&server), Limits::default());
    for ms in [100, 0] {
        let (outcome, _) = fetch(&runner, json!({"url": server.url("/hang"), "timeout_ms": ms})).await;
        assert!(!matches!(outcome, Outcome::Complete(_)), "{outcome:?}");
    }
    let (outcome, _) = fetch(&runner, json!({"url": server.url("/slow")})).await;
    assert_eq!(answer(&outcome)["body"], "slow");
}

#[tokio::test]
async fn failures_of_the_way_can_be_retried_and_are_told() {
    let server = Server::start().await;
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = format!("http://{}", closed.local_addr().unwrap());
    drop(closed);
    let rules = json!([
        {"url": server.url(""), "private": true},
        {"url": nobody, "private": true},
        {"url": server.url("").replace("http:", "https:"), "private": true},
        "https://no-such-host.invalid",
    ]);
    let runner = fetcher(rules, Limits::default());
    let cases = [
        server.url("/garbage"),
        server.url("/close"),
        nobody,
        server.url("/").replace("http:", "https:"),
        "https://no-such-host.invalid/".to_owned(),
    ];
    for url in cases {
        let (outcome, log) = fetch(&runner, json!({"url": url})).await;
        assert!(matches!(outcome, Outcome::Retry { .. }), "{url}: {outcome:?}");
        assert!(log.contains("failed: "), "{url}: {log}");
    }
}

#[tokio::test]
async fn a_request_on_its_way_ends_with_its_attempt() {
    let server = Server::start().await;
    let runner = fetcher(private(&server), Limits::default());
    let hanging = attempt(job("fetch", json!({"url": server.url("/hang")}).to_string()));
    let running = tokio::spawn({
        let (runner, hanging) = (runner.clone(), hanging.clone());
        async move { runner.run(hanging).await }
    });
    timeout(PATIENCE, server.arrived()).await.unwrap();
    hanging.io.stop(StopCause::Shutdown);
    hanging.cancel.cancel();
    let report = timeout(PATIENCE, running).await.unwrap().unwrap();
    stopped(report.outcome, StopCause::Shutdown);

    let runner =
        fetcher(private(&server), Limits { deadline: Duration::from_millis(200), ..Limits::default() });
    let (outcome, _) = fetch(&runner, json!({"url": server.url("/hang")})).await;
    match outcome {
        // Whichever clock strikes first: the request's is set to the attempt's.
        Outcome::Stopped(_) => drop(stopped(outcome, StopCause::Deadline)),
        Outcome::Retry { .. } => {}
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_rule_for_a_secret_that_cannot_be_used_is_a_fault() {
    let grants = json!({"http": [{"url": "https://a.io", "secrets": ["key"]}]});
    let grants: Grants = serde_json::from_value(grants).unwrap();
    let error = HandlerRunner::new(
        &ENGINE,
        &admitted("capable"),
        spec(Limits::default(), grants),
        Services::default(),
    );
    let error = error.map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("grants.secrets"), "{error}");
}
