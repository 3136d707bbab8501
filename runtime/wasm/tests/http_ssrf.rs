//! Ways to make the host send a request to where no rule points.
//!
//! The resolver is the tests' own, so that a name leads to whatever a case needs. Nothing here leaves the machine: what
//! must be refused is refused before anybody is dialled, and what is let through is let through to a peer on loopback.

use std::sync::Arc;

use jobcell_core::{Outcome, StopCause};
use jobcell_wasm::{Grants, HandlerRunner, Limits, Services};
use serde_json::{Value, json};

use crate::support::names::Names;
use crate::support::peer::{Line, Peer, ok};
use crate::support::{ENGINE, admitted, attempt, job, run, spec, stopped, text};

struct Host {
    names: Arc<Names>,
    runner: HandlerRunner,
}

/// A handler with these rules, on a host whose names lead where the test says.
fn host(rules: Value) -> Host {
    let names = Arc::<Names>::default();
    let runner = runner(&names, rules);
    Host { names, runner }
}

fn runner(names: &Arc<Names>, rules: Value) -> HandlerRunner {
    let grants: Grants = serde_json::from_value(json!({"http": rules})).unwrap();
    let services = Services { http: names.sender(""), ..Services::default() };
    HandlerRunner::new(&ENGINE, &admitted("capable"), spec(Limits::default(), grants), services).unwrap()
}

/// What one request became, and the job's log.
async fn raw(runner: &HandlerRunner, request: Value) -> (Value, String) {
    raw_for(runner, request, None).await
}

async fn raw_for(runner: &HandlerRunner, request: Value, tenant: Option<&str>) -> (Value, String) {
    let mut job = job("raw", request.to_string());
    job.options.tenant = tenant.map(Into::into);
    let attempt = attempt(job);
    let outcome = run(runner, &attempt).await.outcome;
    let log = attempt.io.take().logs.join("\n");
    assert!(matches!(outcome, Outcome::Complete(_)), "{request}: {outcome:?}\n{log}");
    (serde_json::from_str(text(&outcome)).unwrap(), log)
}

fn code(told: &Value) -> &str {
    told["error"].as_str().or_else(|| told["refused"].as_str()).unwrap_or("none")
}

#[tokio::test]
async fn a_name_is_dialled_only_where_it_may_lead() {
    let peer = Peer::start(ok).await;
    let port = peer.port();
    let url = |name: &str| format!("http://{name}:{port}");
    let host = host(json!([url("public.test"), {"url": url("own.test"), "private": true}]));
    // Whether a public rule and a private one let a name with this answer through. What is dialled is the peer.
    let table = [
        ("127.0.0.1", false, true),
        ("127.0.0.53 127.0.0.1", false, true),
        ("::ffff:127.0.0.1", false, true),
        ("169.254.169.254 127.0.0.1", false, true),
        ("0.0.0.0 127.0.0.1 ::", false, true),
        ("127.0.0.1 fe80::1 64:ff9b::7f00:1", false, true),
        ("0.0.0.0", false, false),
        ("169.254.169.254", false, false),
        ("::ffff:169.254.169.254", false, false),
        ("100.100.100.200", false, false),
        ("168.63.129.16", false, false),
        ("192.0.0.192", false, false),
        ("fd00:ec2::254", false, false),
        ("fd20:ce::254", false, false),
        ("64:ff9b::7f00:1", false, false),
        ("64:ff9b:1::169.254.169.254", false, false),
        ("2002:7f00:1::", false, false),
        ("2001:0:7f00:1::80ff:fffe", false, false),
        ("::127.0.0.1", false, false),
        ("::", false, false),
        ("fe80::1", false, false),
        ("ff02::1", false, false),
        ("224.0.0.1", false, false),
        ("255.255.255.255", false, false),
        ("240.0.0.1", false, false),
    ];
    for (answer, public, private) in table {
        for (name, may) in [("public.test", public), ("own.test", private)] {
            host.names.set(name, &[answer]);
            let before = peer.connections();
            // A connection of its own each time: one that was kept needs no name.
            let own = json!({"authority": format!("{name}:{port}"), "headers": [["accept", "x/y"]]});
            let fresh =
                runner(&host.names, json!([url("public.test"), {"url": url("own.test"), "private": true}]));
            let (told, log) = raw(&fresh, own).await;
            if may {
                assert_eq!(
                    (&told["status"], peer.connections()),
                    (&json!(200), before + 1),
                    "{answer} {name} {log}"
                );
            } else {
                assert_eq!(code(&told), "ErrorCode::DestinationIpProhibited", "{answer} {name}");
                assert!(log.contains("the name leads to a"), "{answer}: {log}");
                assert_eq!(peer.connections(), before, "{answer} {name}");
            }
        }
    }
    for ip in ["10.1.2.3", "172.16.0.1", "192.168.1.1", "100.64.0.1", "fd12::1", "::1"] {
        host.names.set("public.test", &[ip]);
        let (told, log) = raw(&host.runner, json!({"authority": format!("public.test:{port}")})).await;
        assert_eq!(code(&told), "ErrorCode::DestinationIpProhibited", "{ip}");
        assert!(log.contains("private = true"), "{ip}: {log}");
    }
}

#[tokio::test]
async fn a_name_that_changes_its_mind_is_judged_at_every_connection() {
    // Each request closes its connection.
    let peer = Peer::start(|mut line: Line| async move {
        line.request().await?;
        line.say("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok").await
    })
    .await;
    let authority = format!("flip.test:{}", peer.port());
    let host = host(json!([{"url": format!("http://{authority}"), "private": true}]));
    host.names.set("flip.test", &["127.0.0.1", "169.254.169.254", "127.0.0.1"]);
    let mut seen = Vec::new();
    for _ in 0..3 {
        let (told, _) = raw(&host.runner, json!({"authority": authority})).await;
        seen.push(told["status"].as_u64());
    }
    assert_eq!(seen, [Some(200), None, Some(200)]);
    // One look-up for each: what was judged is what was dialled.
    assert_eq!(host.names.asked().len(), 3);
    assert_eq!(peer.connections(), 2);
}

#[tokio::test]
async fn connections_are_not_shared_between_rules_handlers_and_tenants() {
    let peer = Peer::start(ok).await;
    let authority = format!("own.test:{}", peer.port());
    let url = format!("http://{authority}");
    let rules = json!([
        {"url": format!("{url}/a/*"), "private": true},
        {"url": format!("{url}/b/*"), "private": true},
    ]);
    let host = host(rules.clone());
    host.names.set("own.test", &["127.0.0.1"]);
    let get = |path: &str| json!({"authority": authority, "path": path});
    for (path, tenant, connections) in [
        ("/a/1", None, 1),
        ("/a/2", None, 1),
        ("/b/1", None, 2),
        ("/a/3", Some("acme"), 3),
        ("/a/4", Some("other"), 4),
        ("/a/5", Some("acme"), 4),
        ("/b/2", None, 4),
    ] {
        let (told, _) = raw_for(&host.runner, get(path), tenant).await;
        assert_eq!((&told["status"], peer.connections()), (&json!(200), connections), "{path} {tenant:?}");
    }
    let second = runner(&host.names, rules);
    raw(&second, get("/a/1")).await;
    assert_eq!(peer.connections(), 5);
    // The name leads to loopback, and a connection there is open: still nothing for a public rule.
    let public = runner(&host.names, json!([url]));
    let (told, _) = raw(&public, get("/a/1")).await;
    assert_eq!((code(&told), peer.connections()), ("ErrorCode::DestinationIpProhibited", 5));
}

#[tokio::test]
async fn a_body_where_none_is_expected_is_no_second_request() {
    let peer = Peer::start(ok).await;
    let authority = format!("own.test:{}", peer.port());
    let host = host(json!([{"url": format!("http://{authority}/v1/*"), "private": true}]));
    host.names.set("own.test", &["127.0.0.1"]);
    let smuggled = "DELETE /admin HTTP/1.1\r\nhost: own.test\r\n\r\n";
    for (method, body, connections) in [
        ("GET", Some(smuggled), 1),
        ("DELETE", Some(smuggled), 2),
        ("POST", Some(smuggled), 3),
        ("GET", None, 3),
    ] {
        let request = json!({"authority": authority, "path": "/v1/", "method": method, "body": body});
        let (told, log) = raw(&host.runner, request).await;
        assert_eq!(
            (&told["status"], peer.connections()),
            (&json!(200), connections),
            "{method} {told} {log}"
        );
    }
    let closes = |head: &String| head.to_ascii_lowercase().contains("\r\nconnection: close\r\n");
    assert_eq!(peer.heads().iter().map(closes).collect::<Vec<_>>(), [true, true, false, false]);
}

#[tokio::test]
async fn redirects_lead_nowhere_by_themselves() {
    let targets = [
        "http://169.254.169.254/latest/meta-data/",
        "http://127.0.0.1:1/",
        "//evil.test/",
        "/elsewhere",
        "file:///etc/passwd",
        "http://own.test@evil.test/",
    ];
    for target in targets {
        let peer = Peer::start(move |mut line: Line| async move {
            loop {
                line.request().await?;
                let answer = format!("HTTP/1.1 307 Moved\r\nlocation: {target}\r\ncontent-length: 0\r\n\r\n");
                line.say(answer).await?;
            }
        })
        .await;
        let authority = format!("own.test:{}", peer.port());
        let host = host(json!([{"url": format!("http://{authority}/start"), "private": true}]));
        host.names.set("own.test", &["127.0.0.1"]);
        let (told, _) = raw(&host.runner, json!({"authority": authority, "path": "/start"})).await;
        assert_eq!(told["status"], 307, "{target}");
        assert!(told["headers"].as_array().unwrap().contains(&json!(["location", target])), "{told}");
        assert_eq!(peer.heads().len(), 1, "{target}");
        assert_eq!(host.names.asked(), ["own.test"], "{target}");
    }
    // A guest that follows is a guest that sends: the rule covers the start only.
    let peer = Peer::start(ok).await;
    let authority = format!("own.test:{}", peer.port());
    let host = host(json!([{"url": format!("http://{authority}/start"), "private": true}]));
    for (authority, path) in [
        (authority.as_str(), "/elsewhere"),
        ("169.254.169.254", "/"),
        ("127.0.0.1:1", "/"),
        ("evil.test", "/"),
    ] {
        let (told, log) = raw(&host.runner, json!({"authority": authority, "path": path})).await;
        assert_eq!(code(&told), "ErrorCode::HttpRequestDenied", "{authority}{path}");
        assert!(log.contains("is not granted"), "{log}");
    }
    assert_eq!((peer.connections(), host.names.asked().len()), (0, 0));
}

#[tokio::test]
async fn other_spellings_of_a_host_reach_nothing_more() {
    let peer = Peer::start(ok).await;
    let port = peer.port();
    let host = host(json!([format!("http://*:{port}"), "http://*", "https://*", "https://api.test"]));
    for name in ["localhost", "localhost.", "api.test.", "xn--pi-7kc.test", "metadata.google.internal"] {
        host.names.set(name, &["127.0.0.1"]);
    }
    let authorities = [
        "127.0.0.1",
        "127.1",
        "127.0.1",
        "2130706433",
        "0x7f000001",
        "0x7f.0x0.0x0.0x1",
        "017700000001",
        "0177.0.0.01",
        "127.0.0.1.",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[0:0:0:0:0:ffff:127.0.0.1]",
        "[64:ff9b::127.0.0.1]",
        "[2002:7f00:1::]",
        "0.0.0.0",
        "0",
        "localhost",
        "LOCALHOST",
        "localhost.",
        "%6c%6f%63alhost",
        "xn--pi-7kc.test",
        "metadata.google.internal",
        "api.test@127.0.0.1",
        "api.test:x@localhost",
        "api.test%40localhost",
        "api.test\\@localhost",
        "api.test#@localhost",
        "api.test?@localhost",
        "api.test/@localhost",
        "[fe80::1%25eth0]",
        "[::1",
        "api.test:99999",
        "api.test:",
        "",
        " localhost",
        "local\thost",
        "localhost\r\nx: y",
        "ⓛocalhost",
        "127。0。0。1",
    ];
    for authority in authorities {
        let with_port = match authority {
            // These are about what follows the host already.
            odd if odd.ends_with(['y', ':', '9']) || odd.is_empty() => odd.to_owned(),
            plain => format!("{plain}:{port}"),
        };
        let (told, log) = raw(&host.runner, json!({"authority": with_port})).await;
        assert_eq!(told["status"], Value::Null, "{with_port:?}: {told} {log}");
        let code = code(&told);
        let is_typed = [
            "authority",
            "HttpRequestUriInvalid",
            "HttpRequestDenied",
            "DestinationIpProhibited",
            "DnsError",
        ]
        .iter()
        .any(|known| code.contains(known));
        assert!(is_typed, "{with_port:?}: {code}");
    }
    assert_eq!(peer.connections(), 0);
}

#[tokio::test]
async fn the_request_line_and_the_host_are_the_hosts() {
    let peer = Peer::start(ok).await;
    let authority = format!("own.test:{}", peer.port());
    let host = host(
        json!([{"url": format!("http://{authority}/v1/*"), "private": true, "methods": ["GET", "POST"]}]),
    );
    host.names.set("own.test", &["127.0.0.1"]);
    let refused = [
        json!({"path": "http://169.254.169.254/v1/x"}),
        json!({"path": "*"}),
        json!({"path": "/v1/x HTTP/1.1\r\nHost: evil"}),
        json!({"path": "/v1/x\r\n\r\nGET /admin"}),
        json!({"path": "/v1/..%2fadmin"}),
        json!({"path": "/v1/%2e%2e/admin"}),
        json!({"path": "/v1/%252e%252e/admin"}),
        json!({"path": "/v1/..;/admin"}),
        json!({"path": "/v1/../admin"}),
        json!({"path": "//own.test/v1/x"}),
        json!({"path": "/v1/x".repeat(4000)}),
        json!({"path": "/v1/", "scheme": "https"}),
        json!({"path": "/v1/", "scheme": "ftp"}),
        json!({"path": "/v1/", "scheme": "file"}),
        json!({"path": "/v1/", "method": "DELETE"}),
        json!({"path": "/v1/", "method": "CONNECT"}),
        json!({"path": "/v1/", "method": "TRACE"}),
        json!({"path": "/v1/", "method": "track"}),
        json!({"path": "/v1/", "method": "GET /x HTTP/1.1\r\nx: y\r\n\r\nGET"}),
        json!({"path": "/v1/", "method": "get"}),
        json!({"path": "/v1/", "headers": [["Host", "evil.test"]]}),
        json!({"path": "/v1/", "headers": [[":authority", "evil.test"]]}),
        json!({"path": "/v1/", "headers": [["x", "a\r\nHost: evil.test"]]}),
        json!({"path": "/v1/", "headers": [["x", "a\nb"]]}),
        json!({"path": "/v1/", "headers": [["x\r\ny", "z"]]}),
        json!({"path": "/v1/", "headers": [["x y", "z"]]}),
        json!({"path": "/v1/", "headers": [["Connection", "upgrade"]]}),
        json!({"path": "/v1/", "headers": [["Upgrade", "h2c"]]}),
        json!({"path": "/v1/", "headers": [["HTTP2-Settings", "x"]]}),
        json!({"path": "/v1/", "headers": [["Transfer-Encoding", "chunked"]]}),
        json!({"path": "/v1/", "headers": [["TE", "trailers"]]}),
        json!({"path": "/v1/", "headers": [["Trailer", "x"]]}),
        json!({"path": "/v1/", "headers": [["Expect", "100-continue"]]}),
        json!({"path": "/v1/", "headers": [["Keep-Alive", "timeout=9999"]]}),
        json!({"path": "/v1/", "headers": [["Proxy-Authorization", "x"]]}),
        json!({"path": "/v1/", "headers": [["Proxy-Anything", "x"]]}),
        json!({"path": "/v1/", "headers": [["X-Forwarded-For", "10.0.0.1"]]}),
        json!({"path": "/v1/", "headers": [["X-Forwarded-Host", "evil.test"]]}),
        json!({"path": "/v1/", "headers": [["Forwarded", "for=x"]]}),
        json!({"path": "/v1/", "headers": [["Via", "x"]]}),
        json!({"path": "/v1/", "headers": [["X-Real-IP", "10.0.0.1"]]}),
        json!({"path": "/v1/", "headers": [["X-Original-URL", "/admin"]]}),
        json!({"path": "/v1/", "headers": [["X-Rewrite-URL", "/admin"]]}),
        json!({"path": "/v1/", "headers": [["X-HTTP-Method-Override", "DELETE"]], "method": "POST"}),
        json!({"path": "/v1/", "headers": [["X-Method-Override", "get"], ["X-Method-Override", " delete "]]}),
        json!({"path": "/v1/", "headers": [["X-HTTP-Method", "<>"]]}),
        json!({"path": "/v1/", "headers": [["Content-Length", "5"], ["Content-Length", "6"]], "body": "hello"}),
        json!({"path": "/v1/", "headers": [["Content-Length", "+5"]], "body": "hello"}),
        json!({"path": "/v1/", "headers": [["Content-Length", "4"]], "body": "hello", "method": "POST"}),
        json!({"path": "/v1/", "headers": [["Content-Length", "6"]], "body": "hello", "method": "POST"}),
        json!({"path": "/v1/", "headers": [["Content-Length", "5"]]}),
    ];
    for mut request in refused {
        request["authority"] = json!(authority);
        let (told, _) = raw(&host.runner, request.clone()).await;
        let shown: String = request.to_string().chars().take(300).collect();
        assert!(told["status"].is_null() && code(&told) != "none", "{shown}: {told}");
        assert_eq!(peer.heads(), [""; 0], "{shown}");
    }
    let allowed = json!({
        "authority": authority,
        "path": "/v1/a%2fb?next=/../x",
        "method": "POST",
        "headers": [["Content-Length", "5"], ["X-HTTP-Method-Override", "get"], ["Cookie", "a=b"]],
        "body": "hello",
    });
    let (told, log) = raw(&host.runner, allowed).await;
    assert_eq!(told["status"], 200, "{told} {log}");
    let head = peer.heads().remove(0).to_ascii_lowercase();
    assert!(head.starts_with("post /v1/a%2fb?next=/../x http/1.1\r\n"), "{head}");
    for (header, times) in [("host: ", 1), ("content-length: 5", 1), ("cookie: a=b", 1), ("connection", 0)] {
        assert_eq!(head.matches(&format!("\r\n{header}")).count(), times, "{header}: {head}");
    }
    assert!(head.contains(&format!("\r\nhost: {authority}\r\n")), "{head}");
}

#[tokio::test]
async fn headers_that_fill_the_host_end_the_attempt() {
    let host = host(json!(["https://api.test"]));
    for request in [json!({"headers_more": 32_769}), json!({"headers": [["x", "y".repeat(20_000)]]})] {
        let outcome = run(&host.runner, &attempt(job("raw", request.to_string()))).await.outcome;
        let stopped = stopped(outcome, StopCause::HostCall);
        assert!(stopped.reason.contains("16 KiB into the headers"), "{stopped:?}");
    }
}

#[test]
fn proxies_of_the_environment_are_ignored() {
    // The variables are read when a client is made, by the process; so this one is run anew with them set; by way of /proc,
    // because the file itself may have been built anew meanwhile.
    const INSIDE: &str = "JOBCELL_TEST_UNDER_PROXY";
    if std::env::var_os(INSIDE).is_none() {
        let mut again = std::process::Command::new("/proc/self/exe");
        again.args(["--exact", "http_ssrf::proxies_of_the_environment_are_ignored"]).env(INSIDE, "1");
        for name in ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"] {
            again.env(name, "http://127.0.0.1:9");
        }
        let ran = again.env_remove("no_proxy").env_remove("NO_PROXY").output().unwrap();
        let said = String::from_utf8_lossy(&ran.stdout);
        assert!(ran.status.success() && said.contains("1 passed"), "{said}");
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let peer = Peer::start(ok).await;
        let authority = format!("own.test:{}", peer.port());
        let host = host(json!([{"url": format!("http://{authority}"), "private": true}]));
        host.names.set("own.test", &["127.0.0.1"]);
        let (told, log) = raw(&host.runner, json!({"authority": authority})).await;
        assert_eq!(told["status"], 200, "{told} {log}");
        assert!(peer.heads()[0].starts_with("GET / HTTP/1.1"), "{:?}", peer.heads());
    });
}
