//! What is secret is in no answer, whoever asks for what, and not in the log.

use jobcell_tests::{Host, RedisServer, Site};
use serde_json::{Value, json};

use crate::stage::capable;

const KEY: &str = "k3y-of-the-handler";
const OPEN: &str = "0pen-to-the-handler";
const PASSWORD: &str = "passw0rd-of-redis";
const TOKEN: &str = "abc";
/// The sha256 of the token, as FIPS 180-4 gives it.
const HASH: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
/// A secret that somebody writes where it does not belong.
const MISPLACED: &str = "s3cret-in-the-wrong-place";

const PAGES: [&str; 13] = [
    "/",
    "/queues",
    "/queues/work?state=completed",
    "/queues/work?state=failed",
    "/queues/work/add",
    "/queues/work/jobs/{id}",
    "/schedules",
    "/handlers",
    "/handlers/capable",
    "/hosts",
    "/audit",
    "/login",
    "/nothing",
];

fn site(redis: &RedisServer, tokens: &str) -> Site {
    let site = Site::redis(redis, &format!("{}{tokens}", capable("http://127.0.0.1:9"))).env("TEST_KEY", KEY);
    site.write("open.txt", OPEN);
    site.write("files/.keep", "");
    site
}

/// Every path of the document that is looked at, about this job and this host.
fn paths(document: &Value, job: &str, host: &str) -> Vec<String> {
    let looked_at =
        document["paths"].as_object().unwrap().iter().filter(|(_, methods)| methods["get"].is_object());
    // Streams do not end.
    let paths =
        looked_at.map(|(path, _)| path).filter(|path| !["/api/v1/events", "/ws"].contains(&path.as_str()));
    let filled = paths.map(|path| {
        let id = if path.contains("/hosts/") { host } else { job };
        path.replace("{queue}", "work").replace("{handler}", "capable").replace("{id}", id)
    });
    filled.collect()
}

#[track_caller]
fn assert_clean(what: &str, text: &str) {
    for secret in [KEY, OPEN, PASSWORD, HASH, MISPLACED] {
        assert!(!text.contains(secret), "{what} shows {secret}:\n{text}");
    }
}

#[test]
fn no_answer_and_no_line_of_the_log_has_a_secret() {
    let redis = RedisServer::with_password(PASSWORD);
    let tokens = format!("[[server.tokens]]\nname = \"ops\"\nrole = \"admin\"\nsha256 = \"{HASH}\"\n");
    for tokens in [tokens.as_str(), ""] {
        let site = site(&redis, tokens);
        let host = Host::start(&site);
        let bearer = format!("Bearer {TOKEN}");
        let ask = |method: &str, path: &str, body: Option<&Value>| {
            host.request(method, path, &[("Authorization", &bearer)], body).expect("the host answers")
        };
        let body = json!({"name": "secrets", "data": {"name": "key"}, "opts": {"attempts": 1}});
        let (_, added) = ask("POST", "/api/v1/queues/work/jobs?wait=20", Some(&body));
        let job = serde_json::from_str::<Value>(&added).unwrap()["id"].as_str().unwrap().to_owned();
        let (_, listed) = ask("GET", "/api/v1/hosts", None);
        let listed: Value = serde_json::from_str(&listed).unwrap();
        let document: Value = serde_json::from_str(&ask("GET", "/api/v1/openapi.json", None).1).unwrap();
        let all = paths(&document, &job, listed["items"][0]["id"].as_str().unwrap());
        assert!(all.len() > 20, "{all:?}");
        for path in &all {
            let (status, text) = ask("GET", path, None);
            // There is no schedule of that name.
            assert!(status == 200 || path.contains("/schedulers/"), "{path}: {status} {text}");
            assert_clean(path, &text);
        }
        for path in PAGES.map(|page| page.replace("{id}", &job)) {
            assert_clean(&path, &ask("GET", &path, None).1);
        }
        // Faults name what is wrong without what is secret.
        let config = site.config();
        let broken = config.replace("key = { env = \"TEST_KEY\" }", &format!("key = \"{MISPLACED}\""));
        assert_ne!(broken, config);
        site.write_config(&broken);
        let (status, text) = ask("POST", "/api/v1/reload", None);
        assert!(status == 422 && text.contains("secrets"), "{status} {text}");
        assert_clean("a reload", &text);
        assert_clean("the audit", &ask("GET", "/api/v1/audit", None).1);
        assert_clean("the log", &host.log().join("\n"));
        host.stop();
    }
}
