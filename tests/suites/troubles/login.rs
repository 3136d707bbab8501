//! Redis does not let us in.

use jobcell_tests::RedisServer;

use super::{said, site, told};

#[test]
fn noauth() {
    let redis = RedisServer::with_password("s3cret");
    let port = redis.port().to_string();
    told("login::noauth", &site(&[("REDIS_HOST", "127.0.0.1"), ("REDIS_PORT", &port)]), 69);
    // What the message says helps.
    let variables = [("REDIS_HOST", "127.0.0.1"), ("REDIS_PORT", &port), ("REDIS_PASSWORD", "s3cret")];
    let _ = site(&variables).cli(&["check"]).ok();
}

#[test]
fn wrongpass() {
    let redis = RedisServer::with_password("s3cret");
    let port = redis.port().to_string();
    let with = |user: &str, password: &str| {
        let site = site(&[("REDIS_HOST", "127.0.0.1"), ("REDIS_PORT", &port), ("REDIS_PASSWORD", password)]);
        if user.is_empty() { site } else { site.env("REDIS_USERNAME", user) }
    };
    for user in ["", "default", "nobody"] {
        told("login::wrongpass", &with(user, "wr0ng"), 69);
    }
    told("login::wrongpass", &with("nobody", "s3cret"), 69);
    // The user may be named or left out.
    for user in ["", "default"] {
        let _ = with(user, "s3cret").cli(&["check"]).ok();
    }
    let url = site(&[("REDIS_URL", &format!("redis://:wr0ng@127.0.0.1:{port}"))]);
    let ran = url.cli(&["run"]).exits(69);
    assert!(said(&ran).contains("user:password@ in REDIS_URL"), "{ran}");
}

#[test]
fn no_password_there() {
    let redis = RedisServer::start();
    let port = redis.port().to_string();
    let variables = [("REDIS_HOST", "127.0.0.1"), ("REDIS_PORT", &port), ("REDIS_PASSWORD", "s3cret")];
    told("login::no_password_there", &site(&variables), 69);
}

#[test]
fn no_permission() {
    let redis = RedisServer::start();
    redis.client().run(&["ACL", "SETUSER", "ops", "on", ">s3cret", "~bull:*", "+@read", "+ping", "+client"]);
    let port = redis.port().to_string();
    let variables = [
        ("REDIS_HOST", "127.0.0.1"),
        ("REDIS_PORT", port.as_str()),
        ("REDIS_USERNAME", "ops"),
        ("REDIS_PASSWORD", "s3cret"),
    ];
    let ran = site(&variables).cli(&["enqueue", "work", "noop"]).exits(69);
    super::manual::quotes("login::no_permission", &said(&ran));
}
