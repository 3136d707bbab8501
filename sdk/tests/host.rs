//! The in-memory host: what is granted works for real, what is not is refused with the grant that is missing.

use std::time::Duration;

use jobcell_sdk::http::{HttpError, Method, Request, Response};
use jobcell_sdk::jobs::{Backoff, Options};
use jobcell_sdk::secrets::Algorithm;
use jobcell_sdk::testing::{self, Host};
use jobcell_sdk::{
    Failure, HostError, Job, Raw, blobs, cache, config, context, jobs, kv, publish, secrets, time,
};
use serde_json::json;

const NOW_MS: u64 = 1_700_000_000_000;

fn denied(text: &str) -> HostError {
    HostError::Denied(text.to_owned())
}

#[test]
fn what_is_not_granted_is_refused_with_the_line_that_would_grant_it() {
    Host::new().within(|| {
        let refusals = [
            (kv::open("b").err().unwrap(), "the bucket `b` is not granted; add `kv = [\"b\"]` to the handler's grants"),
            (cache::get("k").unwrap_err(), "the cache is not granted; add `cache = true` to the handler's grants"),
            (
                blobs::get("uploads", "k").unwrap_err(),
                "the blob store `uploads` is not granted; add `blobs = [\"uploads\"]` to the handler's grants",
            ),
            (
                secrets::hmac("stripe", Algorithm::Sha1, b"").unwrap_err(),
                "the secret `stripe` is not granted; add `secrets = [\"stripe\"]` to the handler's grants",
            ),
            (
                publish::publish("news", b"").unwrap_err(),
                "the channel `news` is not granted; add `publish = [\"news\"]` to the handler's grants",
            ),
            (
                jobs::enqueue("mail", "n", &1, &Options::default()).unwrap_err(),
                "the queue `mail` is not granted; add `enqueue = [\"mail\"]` to the handler's grants",
            ),
        ];
        for (refusal, text) in refusals {
            assert_eq!(refusal, denied(text));
        }
        let refusal = Request::put("https://api.example.com:8443/v1/x?token=s3cret").send();
        let text = "PUT https://api.example.com:8443 is not granted, or its address is not; the job's log has the \
                    line to add";
        assert_eq!(refusal, Err(HttpError::Denied(text.to_owned())));
    });
}

#[test]
fn buckets_keep_count_and_swap() {
    let host = Host::new().bucket("visits").kept_value("names", "first", "Ada");
    host.within(|| {
        let visits = kv::open("visits").unwrap();
        assert_eq!(visits.get("k"), Ok(None));
        visits.set("k", b"v").unwrap();
        assert_eq!((visits.get("k"), visits.exists("k")), (Ok(Some(b"v".to_vec())), Ok(true)));
        assert_eq!(visits.increment("n", 5).and_then(|_| visits.increment("n", -7)), Ok(-2));
        assert!(matches!(visits.increment("k", 1), Err(HostError::Invalid(_))));
        assert_eq!(visits.keys(None).unwrap().keys, ["k", "n"]);
        visits.delete("k").and_then(|()| visits.delete("k")).unwrap();
        assert_eq!(visits.keys(None), Ok(kv::Page { keys: vec!["n".to_owned()], cursor: None }));
        for (key, refused) in [
            ("", HostError::Invalid("the key is empty".to_owned())),
            (&*"k".repeat(513), HostError::TooLarge(512)),
        ] {
            assert_eq!(visits.get(key), Err(refused));
        }

        let names = kv::open("names").unwrap();
        let seen = names.watch("first").unwrap();
        names.set("first", "Grace").unwrap();
        let kv::Swap::Lost(now) = seen.swap("Edith").unwrap() else { panic!("it had changed") };
        assert_eq!(now.current(), Ok(Some(b"Grace".to_vec())));
        assert!(matches!(now.swap("Edith"), Ok(kv::Swap::Done)));
        let mut calls = 0;
        let joined = names.update("first", |held| {
            calls += 1;
            [&held.unwrap_or_default()[..], b"!"].concat()
        });
        assert_eq!((joined, calls), (Ok(b"Edith!".to_vec()), 1));
        assert_eq!(names.update("new", |held| held.unwrap_or(b"none".to_vec())), Ok(b"none".to_vec()));
    });
    assert_eq!(host.kept("names", "first").as_deref(), Some(&b"Edith!"[..]));
    assert_eq!((host.kept("visits", "k"), host.kept("other", "k")), (None, None));
}

#[test]
fn a_bucket_is_listed_page_by_page_while_it_is_emptied() {
    let host = Host::new().bucket("b");
    host.within(|| {
        let bucket = kv::open("b").unwrap();
        for i in 0..2500 {
            bucket.set(&i.to_string(), b"").unwrap();
        }
        let (mut seen, mut cursor) = (0, None);
        loop {
            let page = bucket.keys(cursor.as_deref()).unwrap();
            seen += page.keys.len();
            page.keys.iter().for_each(|key| bucket.delete(key).unwrap());
            cursor = page.cursor;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!((seen, bucket.keys(None).unwrap().keys.len()), (2500, 0));
        assert!(matches!(bucket.keys(Some("-1")), Err(HostError::Invalid(_))));
    });
}

#[test]
fn cached_values_expire_by_the_set_clock() {
    let host = Host::new().at(NOW_MS).cache();
    host.within(|| {
        cache::set("k", b"v", Some(Duration::from_secs(10))).unwrap();
        cache::set("stays", b"v", None).unwrap();
    });
    host.advance(Duration::from_millis(9_999));
    assert_eq!(host.within(|| cache::get("k")), Ok(Some(b"v".to_vec())));
    assert_eq!(host.within(|| cache::set_if_absent("k", b"w", None)), Ok(false));
    host.advance(Duration::from_millis(1));
    assert_eq!(host.within(|| cache::get("k")), Ok(None));
    assert_eq!(host.cached("stays"), Some(b"v".to_vec()));
    assert_eq!(host.within(|| cache::set_if_absent("k", b"w", None)), Ok(true));
    host.within(|| cache::delete("k").and_then(|()| cache::delete("k"))).unwrap();
    assert_eq!(host.cached("k"), None);
}

#[test]
fn a_counter_keeps_the_ttl_it_was_created_with() {
    let host =
        Host::new().at(NOW_MS).cached_value("text", "seven").cached_value("full", i64::MAX.to_string());
    let add = |by| host.within(|| cache::increment("n", by, Some(Duration::from_secs(10))));
    assert_eq!((add(5), add(-7)), (Ok(5), Ok(-2)));
    host.advance(Duration::from_secs(9));
    assert_eq!(add(1), Ok(-1));
    host.advance(Duration::from_secs(1));
    assert_eq!(add(1), Ok(1), "the last addition must not have made it live longer");
    assert!(matches!(host.within(|| cache::increment("text", 1, None)), Err(HostError::Invalid(_))));
    assert!(matches!(host.within(|| cache::increment("full", 1, None)), Err(HostError::Invalid(_))));
}

#[test]
fn blobs_are_kept_listed_and_read_in_part() {
    let host = Host::new().blob("uploads", "in/a", *b"hello").store("out");
    host.within(|| {
        let put = blobs::put("uploads", "in/b", b"hello", Some("text/plain")).unwrap();
        assert_eq!((put.size, put.content_type.as_deref()), (5, Some("text/plain")));
        let head = blobs::head("uploads", "in/a").unwrap();
        assert_eq!(head.etag, put.etag, "the same content has the same etag");
        assert_eq!(blobs::get_range("uploads", "in/a", 1, 3), Ok(b"ell".to_vec()));
        assert_eq!(blobs::get_range("uploads", "in/a", 4, u64::MAX), Ok(b"o".to_vec()));
        assert_eq!(blobs::get_range("uploads", "in/a", 9, 1), Ok(Vec::new()));
        assert_eq!(blobs::get("uploads", "in/c"), Err(HostError::NotFound));
        assert!(matches!(blobs::put("out", "", b"", None), Err(HostError::Invalid(_))));

        blobs::put("uploads", "z", b"", None).unwrap();
        let keys = |prefix, after, limit| -> Vec<String> {
            blobs::list("uploads", prefix, after, limit).unwrap().into_iter().map(|info| info.key).collect()
        };
        assert_eq!(keys("in/", None, 10), ["in/a", "in/b"]);
        assert_eq!(keys("", None, 2), ["in/a", "in/b"]);
        assert_eq!(keys("", Some("in/b"), 2), ["z"]);
        assert_eq!(keys("in/", Some("a"), 10), ["in/a", "in/b"]);

        blobs::delete("uploads", "z").and_then(|()| blobs::delete("uploads", "z")).unwrap();
    });
    assert_eq!(host.blob_keys("uploads"), ["in/a", "in/b"]);
    assert_eq!(host.blob_bytes("uploads", "in/b"), Some(b"hello".to_vec()));
    assert_eq!(host.blob_type("uploads", "in/b").as_deref(), Some("text/plain"));
}

/// The vectors are from RFC 2202 (case 2) and RFC 4231 (case 2).
#[test]
fn keyed_hashes_are_real() {
    let vectors = [
        (Algorithm::Sha1, "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"),
        (Algorithm::Sha256, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
        (
            Algorithm::Sha512,
            "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737",
        ),
    ];
    let host = Host::new().secret("key", "Jefe");
    for (algorithm, expected) in vectors {
        host.within(|| {
            let message = "what do ya want for nothing?";
            let mac = secrets::hmac("key", algorithm, message).unwrap();
            assert_eq!(hex::encode(&mac), expected);
            assert_eq!(secrets::verify_hmac("key", algorithm, message, &mac), Ok(true));
            assert_eq!(secrets::verify_hmac("key", algorithm, "other", &mac), Ok(false));
            assert_eq!(secrets::verify_hmac("key", algorithm, message, &mac[1..]), Ok(false));
        });
    }
}

#[test]
fn a_secret_is_seen_only_where_that_is_granted() {
    let host = Host::new().secret("key", "Jefe").secret("open", "sesame").reveals("open");
    host.within(|| {
        let text = "revealing the secret `key` is not granted; add `secrets = [{ name = \"key\", reveal = true }]` \
                    to the handler's grants";
        assert_eq!(secrets::reveal("key"), Err(denied(text)));
        assert_eq!(secrets::reveal("open").as_deref(), Ok("sesame"));
        assert!(!secrets::placeholder("key").unwrap().contains("Jefe"));
    });
}

#[test]
fn placeholders_become_secrets_on_the_way_out() {
    let host = Host::new().secret("token", "tok_1").respond("https://a.example/", Response::new(204));
    host.within(|| {
        let token = secrets::placeholder("token").unwrap();
        let request = Request::post("https://a.example/").bearer(&token).json(&json!({"token": token}));
        assert_eq!(request.send().map(|response| response.status), Ok(204));
    });
    let sent = &host.requests()[0];
    assert_eq!(sent.header_value("Authorization"), Some("Bearer tok_1"));
    assert_eq!(sent.body_json::<serde_json::Value>(), Ok(json!({"token": "tok_1"})));
    assert!(!format!("{sent:?}").contains("tok_1"));
}

#[test]
fn answers_come_in_turn_and_the_last_one_stays() {
    let url = "https://a.example/x";
    let host = Host::new()
        .fail(url, HttpError::Timeout)
        .respond(url, Response::new(503).with_header("Retry-After", "2"))
        .respond(url, Response::new(200).with_json(&json!({"id": 7})));
    host.within(|| {
        assert_eq!(Request::get(url).send(), Err(HttpError::Timeout));
        assert_eq!(Request::get(url).send().unwrap().header("retry-after"), Some("2"));
        for _ in 0..2 {
            assert_eq!(Request::get(url).send().unwrap().json::<serde_json::Value>(), Ok(json!({"id": 7})));
        }
    });
    assert_eq!(host.requests().len(), 4);
}

#[test]
fn a_responder_sees_what_no_answer_was_set_for() {
    let host = Host::new().on_request(|request| match request.method {
        Method::Put => Ok(Response::new(201).with_body(request.body.clone())),
        _ => Err(HttpError::Connect("refused".to_owned())),
    });
    host.within(|| {
        let put = Request::put("https://a.example/").body("abc").timeout(Duration::from_secs(1));
        assert_eq!(put.send().unwrap().text(), "abc");
        assert_eq!(Request::get("https://a.example/").send(), Err(HttpError::Connect("refused".to_owned())));
        let long = Request::put("https://a.example/").body("abc").max_body(2).send();
        assert_eq!(
            long,
            Err(HttpError::TooLarge("PUT https://a.example/: the answer is over 2 bytes".to_owned()))
        );
    });
}

#[test]
fn a_body_that_does_not_fit_names_the_path() {
    let response = Response::new(200).with_body(*br#"{"a":[1,"x"]}"#);
    let error = response.json::<std::collections::BTreeMap<String, Vec<u8>>>().unwrap_err();
    assert!(error.to_string().starts_with("bad answer: response body: a[1]: invalid type"), "{error}");
}

#[test]
fn what_a_handler_says_is_recorded() {
    let host = Host::new().publishes("news").enqueues("mail").config("locale", "en").cancelled();
    let speak = |job: Job<Raw>| -> Result<(), Failure> {
        context::progress(&json!({"done": 1}))?;
        context::progress(&100)?;
        context::log(format!("attempt {}", job.attempt));
        context::update_data(&json!({"step": 2}))?;
        publish::json("news", &json!({"a": 1}))?;
        assert!(context::is_cancelled());
        assert_eq!(config::get("locale")?.as_deref(), Some("en"));
        assert_eq!(config::get("other")?, None);
        let backoff = Some(Backoff::Fixed(Duration::from_secs(1)));
        let options = Options { id: Some("m1".to_owned()), backoff, ..Options::default() };
        assert_eq!(jobs::enqueue("mail", "welcome", &7, &options)?, "m1");
        assert_eq!(jobs::enqueue("mail", "welcome", &8, &options)?, "m1", "the id exists: nothing is added");
        assert_ne!(jobs::enqueue_child("mail", "child", &9, &Options::default())?, "m1");
        Ok(())
    };
    assert_eq!(host.run(speak, testing::bytes(*b"")), Ok(()));
    assert_eq!(host.progress(), [json!({"done": 1}), json!(100)]);
    assert_eq!(host.logs(), ["attempt 1"]);
    assert_eq!(host.updated_data(), Some(br#"{"step":2}"#.to_vec()));
    assert_eq!(host.published(), [("news".to_owned(), br#"{"a":1}"#.to_vec())]);
    let enqueued = host.enqueued();
    let seen: Vec<_> = enqueued.iter().map(|job| (&*job.name, &*job.data, job.child)).collect();
    assert_eq!(seen, [("welcome", &b"7"[..], false), ("child", b"9", true)]);
}

#[test]
fn children_are_what_the_test_says() {
    let host = Host::new().child("bull:q:1", "42").child_failure("bull:q:2", "no");
    host.within(|| {
        assert_eq!(context::children_values(), Ok(vec![("bull:q:1".to_owned(), "42".to_owned())]));
        assert_eq!(context::children_failures(), Ok(vec![("bull:q:2".to_owned(), "no".to_owned())]));
    });
}

#[test]
fn time_left_follows_the_set_clock() {
    let host = Host::new().at(NOW_MS);
    let look = |_: Job<Raw>| Ok((time::now_ms(), context::remaining()));
    let job = || testing::bytes(*b"").deadline(NOW_MS + 1_500);
    assert_eq!(host.run(look, job()), Ok((NOW_MS, Duration::from_millis(1_500))));
    host.advance(Duration::from_secs(2));
    assert_eq!(host.run(look, job()), Ok((NOW_MS + 2_000, Duration::ZERO)));
}

#[test]
fn without_a_host_the_clock_is_the_systems() {
    assert!(time::now_ms() > 1_600_000_000_000);
    assert!(Host::new().within(time::now_ms) > 1_600_000_000_000);
}

#[test]
#[should_panic(expected = "jobcell_sdk::cache::get was called where no host is")]
fn a_host_function_outside_of_a_host_says_what_to_do() {
    let _ = cache::get("k");
}

#[test]
fn a_handler_that_panics_leaves_no_host_behind() {
    let host = Host::new().cache();
    let thrown = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _ = host.run(|_: Job<Raw>| -> Result<(), Failure> { panic!("boom") }, testing::bytes(*b""));
    }));
    assert!(thrown.is_err());
    assert!(std::panic::catch_unwind(|| cache::get("k")).is_err(), "the host was left behind");
    assert_eq!(host.within(|| cache::get("k")), Ok(None), "the host is as usable as before");
}
