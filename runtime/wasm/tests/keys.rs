//! Names that guests choose, against every capability that takes one: nothing leaves its prefix, and nothing of another
//! tenant, handler or store is reached.

use std::collections::BTreeSet;
use std::path::Path;

use jobcell_core::Outcome;
use jobcell_core::keyvalue::Bucket as KvBucket;
use jobcell_wasm::{BlobStore, Limits};
use serde_json::json;

use crate::capabilities::{Host, azure};
use crate::support::azure::Container;
use crate::support::s3::Bucket;
use crate::support::text;

/// Names that mean something to somebody on the way: Redis, paths, URLs, patterns, parsers, people.
fn hostile() -> Vec<String> {
    let short = [
        " ",
        ":",
        "::",
        ":tested:x",
        "acme:tested:x",
        "{}",
        "{x}",
        "}{",
        ".",
        "..",
        "../x",
        "../../x",
        "x/../../y",
        "./x",
        "/",
        "//",
        "/x",
        "//x",
        "x/",
        "x//y",
        "/etc/passwd",
        "..\\..\\x",
        "C:\\x",
        "file:///etc/passwd",
        "\0",
        "x\0y",
        "\n",
        "x\r\ny: z",
        "\u{1b}[2J",
        "*",
        "?",
        "[a-z]",
        "x*",
        "\\*",
        "%",
        "%2e%2e",
        "%2e%2e/%2e%2e/x",
        "%2e%2e%2fx",
        "..%2fx",
        "%00",
        "%252e%252e",
        "x?list-type=2",
        "x#1",
        "x#",
        "x&prefix=",
        "<Key>x</Key>",
        "\"'&<>",
        "a",
        "\u{430}", // Cyrillic, looks like `a`.
        "e\u{301}",
        "\u{e9}",                    // The same letter in one character.
        "\u{2025}",                  // Two dots in one character.
        "\u{ff0e}\u{ff0e}\u{ff0f}x", // Wide dots and slash.
        "\u{2215}x",
        "\u{202e}txt.exe",
        "\u{feff}",
        "\u{10ffff}",
        "-",
        "--delete",
        "secret",
        "here2/x",
    ];
    let long = [300, 511, 512].map(|bytes| "k".repeat(bytes));
    short.into_iter().map(str::to_owned).chain(long).collect()
}

/// Names that no store takes.
fn impossible() -> [String; 3] {
    [String::new(), "k".repeat(1025), "k".repeat(1 << 20)]
}

/// Tenants and handlers that would meet if names were put together carelessly.
const OWNERS: [(Option<&str>, &str); 10] = [
    (None, "tested"),
    (Some("acme"), "tested"),
    (Some("acme"), "tested:x"),
    (Some("acme:tested"), "x"),
    (Some("acme%3Atested"), "x"),
    (Some("a/c"), "tested"),
    (Some("{acme}"), "tested"),
    (Some("*"), "tested"),
    (Some("аcme"), "tested"),
    (Some("../acme"), "tested"),
];

fn owned(host: &mut Host, (tenant, handler): (Option<&str>, &str)) {
    host.tenant = tenant.map(str::to_owned);
    handler.clone_into(&mut host.handler);
    host.limits = Limits { payload: 4 << 20, ..Limits::default() };
}

#[tokio::test]
async fn no_key_of_the_cache_is_another_owners() {
    let mut host = Host::new();
    let keys = hostile();
    for owner in OWNERS {
        owned(&mut host, owner);
        for key in &keys {
            // Nobody has left anything under it, and what this one leaves is its own.
            let before = host.answer("hold", json!({"key": key, "value": format!("{owner:?}")})).await;
            assert_eq!(before, json!(null), "{owner:?} {key:?}");
        }
        for key in impossible() {
            assert!(matches!(host.run("hold", json!({"key": key, "value": "x"})).await, Outcome::Fatal(_)));
        }
    }
    let values = host.cache.0.lock().unwrap();
    assert_eq!(values.len(), OWNERS.len() * keys.len());
    for whole in values.keys() {
        // The first two parts are the host's; the rest is the guest's key as it was.
        let [tenant, handler, key] = whole.splitn(3, ':').collect::<Vec<_>>()[..] else { panic!("{whole}") };
        assert!(keys.iter().any(|own| own == key), "{whole:?}");
        for part in [tenant, handler] {
            assert!(!part.contains(['/', '{', '}', '*', ':']) && part.is_ascii(), "{whole:?}");
        }
    }
}

#[tokio::test]
async fn no_key_of_a_bucket_is_another_tenants() {
    let mut host = Host::new();
    let keys = hostile();
    // All of one tenant share a bucket, whatever the handler.
    let tenants: BTreeSet<Option<&str>> = OWNERS.into_iter().map(|(tenant, _)| tenant).collect();
    for tenant in &tenants {
        for bucket in ["media", "other"] {
            owned(&mut host, (*tenant, "tested"));
            let set =
                keys.iter().map(|key| json!({"do": "swap", "key": key, "value": format!("{tenant:?}")}));
            let listed = [json!({"do": "all-keys"})];
            let bad = impossible().map(|key| json!({"do": "set", "key": key, "value": "x"}));
            let steps: Vec<_> = set.chain(bad).chain(listed).collect();
            let answers = host.answer("kv", json!({"bucket": bucket, "steps": steps})).await;
            let answers = answers.as_array().unwrap();
            // A swap is only done without loss where there was nothing.
            for (key, answer) in keys.iter().zip(answers) {
                assert_eq!(answer, "done", "{tenant:?} {bucket} {key:?}");
            }
            for refused in &answers[keys.len()..keys.len() + 3] {
                assert!(refused["error"].is_string(), "{refused}");
            }
            let listed = answers.last().unwrap().as_array().unwrap();
            let listed: BTreeSet<&str> = listed.iter().map(|key| key.as_str().unwrap()).collect();
            assert_eq!(listed, keys.iter().map(String::as_str).collect());
        }
    }
    let values = host.values.0.lock().unwrap();
    assert_eq!(values.len(), tenants.len() * 2 * keys.len());
    let buckets: BTreeSet<&String> = values.keys().map(|(bucket, _)| bucket).collect();
    assert_eq!(buckets.len(), tenants.len() * 2);
    assert!(buckets.contains(&KvBucket::new(Some("*"), "media").as_str().to_owned()));
}

/// Puts, reads and deletes under every name, and lists by it. Returns the keys that were taken.
async fn try_blobs(host: &mut Host) -> Vec<String> {
    host.limits = Limits { payload: 4 << 20, ..Limits::default() };
    let mut taken = Vec::new();
    for key in hostile().into_iter().chain(impossible()) {
        let put = json!({"store": "uploads", "key": key, "text": "mine"});
        match host.run("blob", put).await {
            Outcome::Complete(_) => taken.push(key.clone()),
            Outcome::Fatal(reason) => assert!(!reason.contains("log says why"), "{key:?}: {reason}"),
            other => panic!("{key:?}: {other:?}"),
        }
        let list = json!({"store": "uploads", "prefix": key, "start_after": null, "limit": 1000});
        match host.run("blob-list", list).await {
            outcome @ Outcome::Complete(_) => {
                assert!(!text(&outcome).contains("canary"), "{key:?}: {}", text(&outcome));
            }
            Outcome::Fatal(_) => {}
            other => panic!("{key:?}: {other:?}"),
        }
        let after = json!({"store": "uploads", "prefix": "", "start_after": key, "limit": 1000});
        assert!(
            matches!(host.run("blob-list", after).await, Outcome::Complete(_) | Outcome::Fatal(_)),
            "{key:?}"
        );
    }
    assert!(taken.len() > 20, "{taken:?}");
    let all = json!({"store": "uploads", "prefix": "", "start_after": null, "limit": 1000});
    let all = host.answer("blob-list", all).await;
    for info in all.as_array().unwrap() {
        let key = info["key"].as_str().unwrap();
        // A store trims slashes at either end; nothing else is ever called otherwise than it was put.
        let is = |own: &String| own.trim_matches('/') == key;
        assert!(taken.iter().any(is), "{key:?} was listed and never put");
    }
    taken
}

#[tokio::test]
async fn no_key_of_a_folder_leads_out_of_it() {
    let site = tempfile::tempdir().unwrap();
    let inside = site.path().join("in/here");
    std::fs::create_dir_all(&inside).unwrap();
    std::fs::create_dir(site.path().join("in/here2")).unwrap();
    for canary in ["canary", "in/canary", "in/x", "in/secret", "in/here2/x"] {
        std::fs::write(site.path().join(canary), "canary").unwrap();
    }
    // What an operator, or another program, may leave in it.
    for (target, link) in
        [("../secret", "out"), ("..", "up"), ("/", "root"), ("../here2", "beside"), ("gone", "broken")]
    {
        std::os::unix::fs::symlink(target, inside.join(link)).unwrap();
    }
    let before = files_in(site.path(), &inside);
    let mut host = Host::new();
    let store = BlobStore::open(&format!("file://{}", inside.display())).unwrap();
    host.services.blobs = [("uploads".to_owned(), store)].into();
    let taken = try_blobs(&mut host).await;
    for linked in [
        "out",
        "up/secret",
        "up/new",
        "root/etc/passwd",
        "root/tmp/jobcell-new",
        "beside/x",
        "broken",
        "up/here/a",
    ] {
        for delete in [false, true] {
            let data = json!({"store": "uploads", "key": linked, "text": "mine", "delete": delete});
            let outcome = host.run("blob", data).await;
            assert!(matches!(outcome, Outcome::Fatal(_)), "{linked}: {outcome:?}");
        }
    }
    assert_eq!(files_in(site.path(), &inside), before, "something outside of the folder has changed");
    let left: Vec<_> = files_in(&inside, Path::new("-")).into_iter().map(|(path, _)| path).collect();
    assert!(left.iter().all(|path| !path.ends_with("#1")), "{left:?}");
    assert!(taken.contains(&"%2e%2e".to_owned()) && inside.join("%2e%2e").is_file());
}

/// Every file below a folder and what it holds, but for another folder. Links are not followed.
fn files_in(folder: &Path, but: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let (path, kind) = entry.map(|entry| (entry.path(), entry.file_type().unwrap())).unwrap();
        if path == but {
            continue;
        }
        if kind.is_dir() {
            files.extend(files_in(&path, but));
        } else if kind.is_file() {
            files.push((path.display().to_string(), std::fs::read(&path).unwrap()));
        }
    }
    files.sort();
    files
}

#[tokio::test]
async fn no_key_of_the_memory_leads_into_another_store() {
    let mut host = Host::new();
    host.services.blobs =
        ["uploads", "other"].map(|name| (name.to_owned(), BlobStore::open("memory://").unwrap())).into();
    host.grants.blobs.push("other".to_owned());
    let canary = json!({"store": "other", "key": "canary", "text": "canary"});
    host.answer("blob", canary).await;
    try_blobs(&mut host).await;
    let all = json!({"store": "other", "prefix": "", "start_after": null, "limit": 1000});
    assert_eq!(host.answer("blob-list", all).await.as_array().unwrap().len(), 1);
}

/// What is not the guest's, beside its folder in a bucket.
const CANARIES: [&str; 6] = ["canary", "in/canary", "in/x", "in/secret", "in/here2/x", "in/herecanary"];

/// Tries a store whose folder is `in/here`; `keys` tells all that its bucket has.
async fn stays_in_its_folder(store: BlobStore, keys: impl Fn() -> Vec<(String, String)>) {
    let before = keys();
    assert_eq!(before.len(), CANARIES.len());
    let mut host = Host::new();
    host.services.blobs = [("uploads".to_owned(), store)].into();
    let taken = try_blobs(&mut host).await;
    let (own, others): (Vec<_>, Vec<_>) =
        keys().into_iter().partition(|(key, _)| key.starts_with("in/here/"));
    assert_eq!(others, before, "something outside of the folder has changed");
    let own: BTreeSet<String> = own.into_iter().map(|(key, _)| key).collect();
    let wanted = taken.iter().map(|key| format!("in/here/{}", key.trim_matches('/')));
    assert_eq!(own, wanted.collect());
}

#[tokio::test]
async fn no_key_of_s3_leads_out_of_its_folder() {
    let bucket = Bucket::start().await;
    CANARIES.iter().for_each(|canary| bucket.put(canary, "canary"));
    let endpoint = format!("http://{}", bucket.address);
    let options = [
        ("aws_endpoint", endpoint.as_str()),
        ("aws_allow_http", "true"),
        ("aws_access_key_id", "id"),
        ("aws_secret_access_key", "hidden"),
    ];
    let store = BlobStore::open_with("s3://bucket/in/here", options).unwrap();
    stays_in_its_folder(store, || bucket.keys()).await;
}

#[tokio::test]
async fn no_key_of_google_cloud_storage_leads_out_of_its_folder() {
    let bucket = Bucket::start().await;
    CANARIES.iter().for_each(|canary| bucket.put(canary, "canary"));
    let endpoint = format!("http://{}", bucket.address);
    let options = [
        ("google_base_url", endpoint.as_str()),
        ("google_allow_http", "true"),
        ("google_bearer_token", "google-token"),
    ];
    let store = BlobStore::open_with("gs://bucket/in/here", options).unwrap();
    stays_in_its_folder(store, || bucket.keys()).await;
}

#[tokio::test]
async fn no_key_of_azure_leads_out_of_its_folder() {
    let container = Container::start().await;
    CANARIES.iter().for_each(|canary| container.put(canary, "canary"));
    let endpoint = format!("http://{}", container.address);
    let store = BlobStore::open_with("az://container/in/here", azure(&endpoint)).unwrap();
    stays_in_its_folder(store, || container.keys()).await;
}

#[tokio::test]
async fn messages_go_to_the_very_channel_that_is_granted() {
    let mut host = Host::new();
    host.grants.publish = vec!["updates".to_owned(), "live.*".to_owned()];
    let mut sent = Vec::new();
    for name in hostile() {
        for channel in [name.clone(), format!("updates{name}"), format!("live{name}"), format!("live.{name}")]
        {
            let outcome = host.run("publish", json!({"channel": channel, "message": "m"})).await;
            if channel.starts_with("live.") && channel.len() <= 512 {
                assert!(matches!(outcome, Outcome::Complete(_)), "{channel:?}: {outcome:?}");
                sent.push(channel);
            } else {
                assert!(matches!(outcome, Outcome::Fatal(_)), "{channel:?}: {outcome:?}");
            }
        }
    }
    let heard: Vec<_> = host.published.0.lock().unwrap().iter().map(|(channel, _)| channel.clone()).collect();
    assert_eq!(heard, sent);
}

#[tokio::test]
async fn jobs_go_to_the_very_queue_that_is_granted() {
    let mut host = Host::new();
    host.limits.enqueued = 1;
    let mut added = Vec::new();
    for name in hostile() {
        for queue in [name.clone(), format!("granted{name}"), format!("more{name}"), format!("more-{name}")] {
            let job = json!({"queue": queue, "name": "n", "data": {"i": 1}});
            let outcome = host.run("enqueue", job).await;
            // A colon would end the queue's part of a key.
            if queue.starts_with("more-") && !queue.contains(':') && queue.len() <= 512 {
                assert!(matches!(outcome, Outcome::Complete(_)), "{queue:?}: {outcome:?}");
                added.push(queue);
            } else {
                assert!(matches!(outcome, Outcome::Fatal(_)), "{queue:?}: {outcome:?}");
            }
        }
    }
    let found: Vec<_> = host.store.0.lock().unwrap().iter().map(|(queue, _)| queue.clone()).collect();
    assert_eq!(found, added);
}

#[tokio::test]
async fn a_job_of_a_tenant_makes_jobs_for_no_other() {
    let mut host = Host::new();
    let job =
        |tenant: Option<&str>| json!({"queue": "granted", "name": "n", "data": {"i": 1}, "tenant": tenant});
    host.tenant = Some("acme".to_owned());
    for other in ["", "ACME", "acme ", "аcme", "other"] {
        match host.run("enqueue", job(Some(other))).await {
            Outcome::Fatal(reason) => assert!(reason.contains("tenant \"acme\""), "{reason}"),
            other => panic!("{other:?}"),
        }
        assert_eq!(host.denied.0.lock().unwrap().pop(), Some("jobs"));
    }
    host.answer("enqueue", job(None)).await;
    host.answer("enqueue", job(Some("acme"))).await;
    // Who belongs to nobody hands out work to everybody.
    host.tenant = None;
    host.answer("enqueue", job(Some("other"))).await;
    host.answer("enqueue", job(None)).await;
    assert!(matches!(host.run("enqueue", job(Some(&"t".repeat(513)))).await, Outcome::Fatal(_)));
    let added = host.store.0.lock().unwrap();
    let tenants: Vec<_> = added.iter().map(|(_, job)| job.options.tenant.as_deref()).collect();
    assert_eq!(tenants, [Some("acme"), Some("acme"), Some("other"), None]);
}

#[tokio::test]
async fn a_tenant_that_cannot_be_a_part_of_keys_is_refused() {
    let mut host = Host::new();
    host.tenant = Some("t".repeat(513));
    for (name, data) in
        [("hold", json!({"key": "k", "value": "v"})), ("kv", json!({"bucket": "media", "steps": []}))]
    {
        let Outcome::Fatal(reason) = host.run(name, data).await else { panic!("{name}") };
        assert!(reason.contains("tenant has 513 bytes"), "{reason}");
    }
}
