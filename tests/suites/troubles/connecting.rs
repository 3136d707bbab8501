//! Redis cannot be reached: each way of it, told by the variable that its address came from.

use std::time::{Duration, Instant};

use jobcell_tests::fleet::{Certificates, RedisNode};
use jobcell_tests::{RedisServer, Site};

use super::fake::Fake;
use super::{manual, said, site, told};
use crate::stage::BASIC;

#[test]
fn refused() {
    let port = RedisServer::absent().port().to_string();
    let url = format!("redis://127.0.0.1:{port}");
    told("connecting::refused", &site(&[("REDIS_URL", &url)]), 69);
    // The same by whatever it was said: each is named, and no other.
    let parts = site(&[("REDIS_HOST", "127.0.0.1"), ("REDIS_PORT", &port), ("REDIS_PASSWORD", "s3cret")]);
    let file = Site::at(&url, BASIC);
    let flag = site(&[]);
    for (site, words, name) in [
        (&parts, &["check"][..], "correct REDIS_HOST and REDIS_PORT"),
        (&file, &["check"], "correct redis.url in jobcell.toml"),
        (&flag, &["--redis", &url, "check"], "correct --redis"),
    ] {
        let ran = site.cli(words).exits(69);
        let said = said(&ran);
        assert!(said.contains(&format!("127.0.0.1:{port}")) && said.contains(name), "{ran}");
        assert!(!said.contains("REDIS_URL"), "{ran}");
    }
}

#[test]
fn unknown_host() {
    told(
        "connecting::unknown_host",
        &site(&[("REDIS_HOST", "xxx.upstash.invalid"), ("REDIS_PORT", "6379")]),
        69,
    );
}

#[test]
fn black_hole() {
    let fake = Fake::silent();
    let site = site(&[("REDIS_HOST", "127.0.0.1"), ("REDIS_PORT", &fake.port())]);
    let began = Instant::now();
    let ran = site.cli(&["enqueue", "work", "noop"]).exits(69);
    manual::quotes("connecting::black_hole", &said(&ran));
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}

#[test]
fn hangs() {
    let redis = RedisServer::start();
    redis.freeze();
    let ran = site(&[("REDIS_URL", &redis.url())]).cli(&["check"]).exits(69);
    manual::quotes("connecting::hangs", &said(&ran));
    redis.thaw();
}

#[test]
fn another_server() {
    let web = Fake::answering("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
    told("connecting::another_server", &site(&[("REDIS_URL", &web.url())]), 69);
}

#[test]
fn rest_address() {
    let site = site(&[("REDIS_URL", "https://xxx.upstash.io")]);
    for command in [&["check"][..], &["enqueue", "work", "noop"], &["run"]] {
        let ran = site.cli(command).exits(2);
        manual::quotes("connecting::rest_address", &said(&ran));
    }
}

#[test]
fn protected_mode() {
    // A server on loopback is in protected mode for nobody; these are its words for everybody else.
    let fake = Fake::refusing(
        "-DENIED Redis is running in protected mode because protected mode is enabled and no password is set for the \
         default user. In this mode connections are only accepted from the loopback interface.\r\n",
    );
    told("connecting::protected_mode", &site(&[("REDIS_URL", &fake.url())]), 69);
}

#[test]
fn tls_required() {
    let ours = Certificates::new();
    let port = Certificates::free_port();
    let args = ours.server_args(port, &ours.identity("server", &["127.0.0.1"]), false);
    let _server = RedisNode::start(&args.iter().map(String::as_str).collect::<Vec<_>>());
    let port = port.to_string();
    let parts = site(&[("REDIS_HOST", "127.0.0.1"), ("REDIS_PORT", &port), ("REDIS_TLS", "false")]);
    told("connecting::tls_required", &parts, 69);
    let url = site(&[("REDIS_URL", &format!("redis://127.0.0.1:{port}"))]);
    let ran = url.cli(&["check"]).exits(69);
    assert!(said(&ran).contains("write rediss:// instead of redis:// in REDIS_URL"), "{ran}");
    // What the message says helps: with TLS it is only the authority that is not known here.
    let ran =
        site(&[("REDIS_HOST", "127.0.0.1"), ("REDIS_PORT", &port), ("REDIS_TLS", "true")]).cli(&["check"]);
    assert!(said(&ran).contains("[redis] ca"), "{ran}");
}

#[test]
fn tls_refused() {
    let redis = RedisServer::start();
    let port = redis.port().to_string();
    let site = site(&[("REDIS_HOST", "127.0.0.1"), ("REDIS_PORT", &port), ("REDIS_TLS", "true")]);
    let ran = site.cli(&["check"]).exits(69);
    manual::quotes("connecting::tls_refused", &said(&ran));
}

#[test]
fn no_such_database() {
    let redis = RedisServer::start();
    let port = redis.port().to_string();
    told(
        "connecting::no_such_database",
        &site(&[("REDIS_HOST", "127.0.0.1"), ("REDIS_PORT", &port), ("REDIS_DB", "99")]),
        69,
    );
}

#[test]
fn too_many_clients() {
    let redis = RedisServer::start();
    let mut client = redis.client();
    client.run(&["CONFIG", "SET", "maxclients", "1"]);
    let ran = site(&[("REDIS_URL", &redis.url())]).cli(&["check"]).exits(69);
    manual::quotes("connecting::too_many_clients", &said(&ran));
}
