//! Every capability: what it does when granted, what it says when not, and where it ends.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use jobcell_core::event::Event;
use jobcell_core::{Observer, Outcome};
use jobcell_wasm::{BlobStore, Grants, HandlerRunner, Limits, Secrets, Services};
use serde_json::{Value, json};

use crate::support::azure::Container;
use crate::support::s3::Bucket;
use crate::support::store::Remembering;
use crate::support::{
    ENGINE, MemoryCache, MemoryValues, Published, admit, admitted, all_grants, allowance, attempt,
    by_hand_with, failure, guest, handle, job, run, runner, spec, text,
};

/// A host with everything.
pub(crate) struct Host {
    pub(crate) cache: Arc<MemoryCache>,
    pub(crate) values: Arc<MemoryValues>,
    pub(crate) published: Arc<Published>,
    pub(crate) store: Arc<Remembering>,
    pub(crate) denied: Arc<Denied>,
    pub(crate) services: Services,
    pub(crate) limits: Limits,
    pub(crate) grants: Grants,
    pub(crate) tenant: Option<String>,
    /// The handler's name.
    pub(crate) handler: String,
}

/// Remembers refusals.
#[derive(Default)]
pub(crate) struct Denied(pub(crate) Mutex<Vec<&'static str>>);

impl Observer for Denied {
    fn on(&self, event: &Event) {
        if let Event::Denied { handler: _, capability } = event {
            self.0.lock().unwrap().push(capability);
        }
    }
}

impl Host {
    pub(crate) fn new() -> Self {
        let values = Arc::<MemoryValues>::default();
        let (cache, published) = (Arc::<MemoryCache>::default(), Arc::<Published>::default());
        let (store, denied) = (Arc::<Remembering>::default(), Arc::<Denied>::default());
        let secrets = [("hook", "whsec_test"), ("open", "come in")];
        let services = Services {
            store: Some(store.clone()),
            cache: Some(cache.clone()),
            keyvalue: Some(values.clone()),
            publisher: Some(published.clone()),
            blobs: [("uploads".to_owned(), BlobStore::open("memory://").unwrap())].into(),
            secrets: Arc::new(Secrets::new(secrets.map(|(name, value)| (name.to_owned(), value.to_owned())))),
            observer: denied.clone(),
            ..Services::default()
        };
        Self {
            cache,
            values,
            published,
            store,
            denied,
            services,
            limits: Limits::default(),
            grants: all_grants(),
            tenant: None,
            handler: "tested".to_owned(),
        }
    }

    pub(crate) async fn run_in(&self, guest: &'static str, name: &str, data: Value) -> Outcome {
        let mut spec = spec(self.limits.clone(), self.grants.clone());
        spec.name = self.handler.clone();
        let runner = HandlerRunner::new(&ENGINE, &admitted(guest), spec, self.services.clone()).unwrap();
        let mut job = job(name, data.to_string());
        job.options.tenant = self.tenant.clone();
        run(&runner, &attempt(job)).await.outcome
    }

    pub(crate) async fn run(&self, name: &str, data: Value) -> Outcome {
        self.run_in("capable", name, data).await
    }

    pub(crate) async fn answer(&self, name: &str, data: Value) -> Value {
        let outcome = self.run(name, data).await;
        match text(&outcome) {
            "" => Value::Null,
            answer => serde_json::from_str(answer).unwrap(),
        }
    }

    /// A refusal: fatal, with the line that would grant it, and told to the observer.
    pub(crate) async fn denied(&self, name: &str, data: Value, capability: &'static str, line: &str) {
        match self.run(name, data).await {
            Outcome::Fatal(reason) => {
                assert!(reason.contains(line) && reason.contains("[handlers.tested.grants]"), "{reason}");
            }
            other => panic!("{name}: {other:?}"),
        }
        assert_eq!(self.denied.0.lock().unwrap().pop(), Some(capability));
    }
}

#[tokio::test]
async fn what_is_granted_as_an_empty_list_may_be_imported_and_does_nothing() {
    let mut host = Host::new();
    let nothing = json!({"http": [], "blobs": [], "cache": true, "kv": [], "enqueue": [], "publish": [], "secrets": []});
    host.grants = serde_json::from_value(nothing).unwrap();
    // `run` takes one that was admitted with every grant; this one is admitted with these.
    admit(&guest("capable"), host.grants.clone()).unwrap();
    let blob = json!({"store": "uploads", "key": "k", "text": "x"});
    host.denied("blob", blob, "blobs", "blobs = [\"uploads\"]").await;
    let message = json!({"channel": "updates", "message": ""});
    host.denied("publish", message, "publish", "publish = [\"updates\"]").await;
    let job = json!({"queue": "granted", "name": "n", "data": {"i": 1}});
    host.denied("enqueue", job, "jobs", "enqueue = [\"granted\"]").await;
    host.denied("reveal", json!("open"), "secrets", "secrets = [\"open\"]").await;
    let steps = json!({"bucket": "media", "steps": []});
    assert!(matches!(host.run("kv", steps).await, Outcome::Fatal(_)));
    assert_eq!(host.denied.0.lock().unwrap().pop(), Some("kv"));
    let request = json!({"url": "https://granted.example/"});
    assert!(matches!(host.run("fetch", request).await, Outcome::Fatal(_)));
    assert_eq!(host.denied.0.lock().unwrap().pop(), Some("http"));
    assert!(host.store.0.lock().unwrap().is_empty() && host.published.0.lock().unwrap().is_empty());
}

// --- cache ---

#[tokio::test]
async fn the_cache_counts_keeps_and_forgets() {
    let host = Host::new();
    let count = json!({"key": "n", "by": 5, "ttl_ms": 60_000});
    assert_eq!(host.answer("cache", count.clone()).await, json!({"count": 5, "text": "5"}));
    assert_eq!(host.answer("cache", count).await["count"], 10);
    assert_eq!(host.answer("seen", json!("id-1")).await, json!(false));
    assert_eq!(host.answer("seen", json!("id-1")).await, json!(true));
    assert_eq!(host.answer("hold", json!({"key": "k", "value": "v"})).await, Value::Null);
    assert_eq!(host.answer("hold", json!({"key": "k"})).await, json!("v"));
    assert_eq!(host.answer("hold", json!({"key": "k"})).await, Value::Null);
    let values = host.cache.0.lock().unwrap();
    assert_eq!(values[":tested:n"].1, Some(Duration::from_secs(60)));
}

#[tokio::test]
async fn tenants_and_handlers_do_not_meet_in_the_cache() {
    let mut host = Host::new();
    for tenant in ["a", "a:tested", "100%"] {
        host.tenant = Some(tenant.to_owned());
        assert_eq!(host.answer("seen", json!("x")).await, json!(false), "{tenant}");
    }
    let mut keys: Vec<_> = host.cache.0.lock().unwrap().keys().cloned().collect();
    keys.sort();
    assert_eq!(keys, ["100%25:tested:x", "a%3Atested:tested:x", "a:tested:x"]);
}

#[tokio::test]
async fn the_cache_has_its_refusals_and_limits() {
    let mut host = Host::new();
    host.limits.cache_value = 10;
    let long = failure(host.run("hold", json!({"key": "k", "value": "12345678901"})).await);
    assert!(long.contains("10"), "{long}");
    failure(host.run("hold", json!({"key": "k".repeat(513), "value": "v"})).await);
    failure(host.run("hold", json!({"key": "", "value": "v"})).await);
    failure(host.run("cache", json!({"key": "n", "by": 1, "ttl_ms": 0})).await);
    host.run("hold", json!({"key": "word", "value": "word"})).await;
    let counted = failure(host.run("cache", json!({"key": "word", "by": 1})).await);
    assert!(counted.contains("whole number") && !counted.contains("tested:word"), "{counted}");
    host.services.cache = None;
    assert!(matches!(host.run("seen", json!("x")).await, Outcome::Retry { .. }));
    host.grants.cache = false;
    host.denied("seen", json!("x"), "cache", "cache = true").await;
}

// --- publish ---

#[tokio::test]
async fn messages_go_to_granted_channels_only() {
    let mut host = Host::new();
    host.run("publish", json!({"channel": "updates", "message": "hello"})).await;
    assert_eq!(host.published.0.lock().unwrap()[0], ("updates".to_owned(), "hello".into()));
    host.denied("publish", json!({"channel": "others", "message": ""}), "publish", "publish = [\"others\"]")
        .await;
    host.limits.message = 4;
    failure(host.run("publish", json!({"channel": "updates", "message": "hello"})).await);
    host.limits.published = 0;
    let quota = failure(host.run("publish", json!({"channel": "updates", "message": ""})).await);
    assert!(quota.contains("limit of 0 messages"), "{quota}");
    assert_eq!(host.published.0.lock().unwrap().len(), 1);
}

// --- jobs ---

#[tokio::test]
async fn jobs_are_put_on_granted_queues_with_their_options() {
    let mut host = Host::new();
    host.tenant = Some("acme".to_owned());
    let new = json!({"queue": "granted", "name": "next", "data": {"i": 3}, "id": "order-7", "delay_ms": 500, "priority": 9});
    assert_eq!(host.answer("enqueue", new).await, json!("order-7"));
    {
        let added = host.store.0.lock().unwrap();
        let (queue, job) = &added[0];
        assert_eq!(
            (queue.as_str(), job.name.as_str(), &job.data[..]),
            ("granted", "next", &br#"{"i":3}"#[..])
        );
        assert_eq!((job.options.delay, job.options.priority), (500, 9));
        assert_eq!(
            (job.options.job_id.as_deref(), job.options.tenant.as_deref()),
            (Some("order-7"), Some("acme"))
        );
        assert!(job.parent.is_none());
    }
    let started = |queue: &str| json!({"queue": queue, "name": "n", "data": {"i": 1}});
    host.answer("enqueue", started("more-work")).await;
    host.denied("enqueue", started("other"), "jobs", "enqueue = [\"other\"]").await;
    assert!(matches!(host.run("enqueue", started("more-trouble")).await, Outcome::Retry { .. }));
    for bad in [
        json!({"queue": "granted", "name": "n", "data": {"i": 1}, "id": "7"}),
        json!({"queue": "granted", "name": "n", "data": {"i": 1}, "priority": 2_097_152}),
        json!({"queue": "granted", "name": "n".repeat(257), "data": {"i": 1}}),
        json!({"queue": "more-:colon", "name": "n", "data": {"i": 1}}),
    ] {
        assert!(matches!(host.run("enqueue", bad.clone()).await, Outcome::Fatal(_)), "{bad}");
    }
}

#[tokio::test]
async fn children_name_their_parent_and_are_counted_against_the_quota() {
    let mut host = Host::new();
    host.services.key_prefix = "{bull}".to_owned();
    let family = json!({"queue": "granted", "name": "child", "children": 2});
    assert_eq!(host.run("family", family.clone()).await, Outcome::WaitForChildren);
    {
        let added = host.store.0.lock().unwrap();
        let parent = added[1].1.parent.as_ref().unwrap();
        assert_eq!((parent.queue_key.as_str(), parent.id.as_str()), ("{bull}:tested", "42"));
        assert_eq!(added[1].1.options.parent.as_ref().unwrap().queue, "{bull}:tested");
    }
    host.limits.enqueued = 1;
    let quota = failure(host.run("family", family).await);
    assert!(quota.contains("limit of 1 enqueued jobs"), "{quota}");
}

#[tokio::test]
async fn children_are_read_from_the_store() {
    let host = Host::new();
    let outcome = host.run_in("basic", "count-children", json!({})).await;
    let expected = json!({
        "values": [["bull:children:of-42", "{\"done\":1}"]],
        "failures": [["bull:children:failed-of-42", "broke"]],
    });
    assert_eq!(serde_json::from_str::<Value>(text(&outcome)).unwrap(), expected);
}

// --- secrets ---

#[tokio::test]
async fn hashes_are_keyed_with_secrets_that_stay_outside() {
    let host = Host::new();
    for (algorithm, mac) in REFERENCE {
        let keyed = json!({"secret": "hook", "message": "payload", "algorithm": algorithm});
        let answer = host.answer("secret", keyed).await;
        assert_eq!((&answer["accepted"], &answer["forged"]), (&json!(true), &json!(false)), "{algorithm}");
        assert_eq!(answer["mac"], mac, "{algorithm}");
    }
    let other = json!({"secret": "other", "message": "", "algorithm": "sha1"});
    host.denied("secret", other, "secrets", "secrets = [\"other\"]").await;
}

/// `payload` under the key `whsec_test`, computed with another implementation.
const REFERENCE: [(&str, &str); 3] = [
    ("sha1", "443c6d092ea9a3ea4ae51de60a20a328354194ed"),
    ("sha256", "f945403b406b4d8442a170e36f2a06beb6fa3e70b2ac11e8269cfe372fa47de4"),
    (
        "sha512",
        "1ae485c9939d839da98f23baaf831ed229a5b900d81fc6468a591fbcef71ec16\
         a505c4f57750ae84c538c430e6272a187f0f46901b5370e30b98fea44b2a975c",
    ),
];

#[tokio::test]
async fn a_secret_is_shown_only_where_that_is_granted() {
    let host = Host::new();
    assert_eq!(host.answer("reveal", json!("open")).await, json!("come in"));
    host.denied("reveal", json!("hook"), "secrets", "secrets = [{ name = \"hook\", reveal = true }]").await;
    host.denied("reveal", json!("other"), "secrets", "secrets = [\"other\"]").await;
}

// --- blobs ---

/// A host whose store `uploads` is this one.
fn host_with(blobs: BlobStore) -> Host {
    let mut host = Host::new();
    host.services.blobs = [("uploads".to_owned(), blobs)].into();
    host
}

/// What every store must do alike.
async fn keeps_blobs(host: &Host) {
    let stored = host.answer("blob", json!({"store": "uploads", "key": "a/b.txt", "text": "hello"})).await;
    assert_eq!((&stored["text"], &stored["part"]), (&json!("hello"), &json!("ell")));
    for info in ["put", "head"] {
        let info = &stored[info];
        assert_eq!((&info["key"], &info["size"]), (&json!("a/b.txt"), &json!(5)));
        assert_eq!(info["content_type"], "text/plain");
    }
    // Shorter than where the range begins, which leaves nothing to read.
    let short = host.answer("blob", json!({"store": "uploads", "key": "a/a.txt", "text": "x"})).await;
    assert_eq!((&short["text"], &short["part"]), (&json!("x"), &json!("")));
    for key in ["a/bc/d.txt", "a/c.txt", "z.txt"] {
        host.answer("blob", json!({"store": "uploads", "key": key, "text": "x"})).await;
    }
    let list = async |prefix: &str, after: Option<&str>, limit: u32| -> Vec<String> {
        let data = json!({"store": "uploads", "prefix": prefix, "start_after": after, "limit": limit});
        let answer = host.answer("blob-list", data).await;
        let infos = answer.as_array().unwrap();
        infos.iter().map(|info| info["key"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(list("", None, 100).await, ["a/a.txt", "a/b.txt", "a/bc/d.txt", "a/c.txt", "z.txt"]);
    assert_eq!(list("a/b", None, 100).await, ["a/b.txt", "a/bc/d.txt"]);
    assert_eq!(list("", Some("a/b.txt"), 2).await, ["a/bc/d.txt", "a/c.txt"]);
    assert!(list("", None, 0).await.is_empty());
    host.answer("blob", json!({"store": "uploads", "key": "z.txt", "text": "x", "delete": true})).await;
    assert!(list("z", None, 9).await.is_empty());
}

#[tokio::test]
async fn blobs_are_kept_in_memory() {
    keeps_blobs(&host_with(BlobStore::open("memory://").unwrap())).await;
}

#[tokio::test]
async fn blobs_are_kept_in_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let store = BlobStore::open(&format!("file://{}", folder.path().display())).unwrap();
    store.probe().await.unwrap();
    keeps_blobs(&host_with(store)).await;
    assert_eq!(std::fs::read(folder.path().join("a/b.txt")).unwrap(), b"hello");
    assert_eq!(names_in(folder.path()), ["a", "a.txt", "b.txt", "bc", "c.txt", "d.txt"]);
}

/// Every name below a folder, sorted.
fn names_in(folder: &std::path::Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        names.push(entry.file_name().into_string().unwrap());
        if entry.file_type().unwrap().is_dir() {
            names.extend(names_in(&entry.path()));
        }
    }
    names.sort();
    names
}

#[tokio::test]
async fn blobs_are_kept_in_s3() {
    let bucket = Bucket::start().await;
    let endpoint = format!("http://{}", bucket.address);
    let options = [
        ("aws_endpoint", endpoint.as_str()),
        ("aws_allow_http", "true"),
        ("aws_access_key_id", "id"),
        ("aws_secret_access_key", "hidden"),
        ("aws_region", "eu-central-1"),
    ];
    let store = BlobStore::open_with("s3://bucket/in/here", options).unwrap();
    assert!(!format!("{store:?}").contains("hidden"));
    store.probe().await.unwrap();
    keeps_blobs(&host_with(store)).await;
    assert_eq!(bucket.keys()[0], ("in/here/a/a.txt".to_owned(), "text/plain".to_owned()));
}

#[tokio::test]
async fn blobs_are_kept_in_google_cloud_storage() {
    let bucket = Bucket::start().await;
    let endpoint = format!("http://{}", bucket.address);
    let options = [
        ("google_base_url", endpoint.as_str()),
        ("google_allow_http", "true"),
        ("google_bearer_token", "google-token"),
    ];
    let store = BlobStore::open_with("gs://bucket/in/here", options).unwrap();
    assert!(!format!("{store:?}").contains("google-token"));
    store.probe().await.unwrap();
    keeps_blobs(&host_with(store)).await;
    assert_eq!(bucket.keys()[0], ("in/here/a/a.txt".to_owned(), "text/plain".to_owned()));
}

#[tokio::test]
async fn blobs_are_kept_in_azure() {
    let container = Container::start().await;
    let endpoint = format!("http://{}", container.address);
    let store = BlobStore::open_with("az://container/in/here", azure(&endpoint)).unwrap();
    assert!(!format!("{store:?}").contains("azure-token"));
    store.probe().await.unwrap();
    keeps_blobs(&host_with(store)).await;
    assert_eq!(container.keys()[0], ("in/here/a/a.txt".to_owned(), "text/plain".to_owned()));
}

/// What it takes to reach a container of the tests.
pub(crate) fn azure(endpoint: &str) -> [(&'static str, &str); 4] {
    [
        ("azure_storage_endpoint", endpoint),
        ("azure_allow_http", "true"),
        ("azure_storage_account_name", "account"),
        ("azure_storage_token", "azure-token"),
    ]
}

#[tokio::test]
async fn a_store_that_cannot_be_reached_can_be_retried() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let endpoint = format!("http://{closed}");
    let options = [
        ("aws_endpoint", endpoint.as_str()),
        ("aws_allow_http", "true"),
        ("aws_access_key_id", "id"),
        ("aws_secret_access_key", "hidden"),
    ];
    let host = host_with(BlobStore::open_with("s3://bucket", options).unwrap());
    let outcome = host.run("blob", json!({"store": "uploads", "key": "k", "text": "x"})).await;
    // The connection is tried again for a moment; then the handler hears of it, long before its deadline.
    let Outcome::Retry { reason, .. } = &outcome else { panic!("{outcome:?}") };
    assert!(reason.contains("the blob store failed"), "{reason}");
}

#[tokio::test]
async fn a_key_never_leaves_its_store() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("outside.txt"), "secret").unwrap();
    let mut host = Host::new();
    std::fs::create_dir(folder.path().join("inside")).unwrap();
    let url = format!("file://{}/inside", folder.path().display());
    host.services.blobs = [("uploads".to_owned(), BlobStore::open(&url).unwrap())].into();
    for key in
        ["../outside.txt", "a/../../outside.txt", "/../outside.txt", "..", "", "a//b", "./x", "a\\..\\b\0"]
    {
        let outcome = host.run("blob", json!({"store": "uploads", "key": key, "text": "x"})).await;
        match outcome {
            Outcome::Fatal(_) => {}
            Outcome::Complete(_) => assert!(key.contains('\\'), "{key}"),
            other => panic!("{key}: {other:?}"),
        }
    }
    let climbing = json!({"store": "uploads", "prefix": "../", "limit": 10});
    assert!(matches!(host.run("blob-list", climbing).await, Outcome::Fatal(_)));
    assert_eq!(std::fs::read(folder.path().join("outside.txt")).unwrap(), b"secret");
}

#[tokio::test]
async fn blobs_have_their_refusals_and_limits() {
    let mut host = Host::new();
    let blob = |store: &str, text: &str| json!({"store": store, "key": "k", "text": text});
    host.denied("blob", blob("others", "x"), "blobs", "blobs = [\"others\"]").await;
    host.answer("blob", blob("uploads", "123456")).await;
    host.limits.blob = 5;
    let long = failure(host.run("blob", blob("uploads", "123456")).await);
    assert!(long.contains('5'), "{long}");
    failure(host.run("blob", json!({"store": "uploads", "key": "k".repeat(1025), "text": ""})).await);
    // All blobs of an attempt together: each is written once and read once whole and in part.
    host.limits.blobs = 9;
    let spent = failure(host.run("blob", blob("uploads", "12345")).await);
    assert!(spent.contains("limits.blobs"), "{spent}");
    host.limits.blobs = 13;
    host.answer("blob", blob("uploads", "12345")).await;
    // What is larger already is not read either.
    host.limits.blob = 4;
    let short = failure(host.run("blob", blob("uploads", "12345")).await);
    assert!(short.contains('4'), "{short}");
}

// --- context, config, logging ---

#[tokio::test]
async fn progress_must_be_json_and_small() {
    let runner = runner(&admitted("basic"), Limits { progress: 10, ..Limits::default() });
    let report = run(&runner, &attempt(job("progress", r#"{"steps":1}"#))).await;
    let reason = failure(report.outcome);
    assert!(reason.contains("10"), "{reason}");
}

#[tokio::test]
async fn settings_are_read_and_nothing_else() {
    let host = Host::new();
    assert_eq!(text(&host.run_in("settings", "setting", json!("bucket")).await), "\"media\"");
    assert_eq!(text(&host.run_in("settings", "setting", json!("PATH")).await), "");
}

#[tokio::test]
async fn the_guest_sees_the_time_left() {
    let runner = runner(&admitted("basic"), Limits { deadline: Duration::from_secs(5), ..Limits::default() });
    let report = run(&runner, &attempt(job("remaining", "{}"))).await;
    let left: u64 = text(&report.outcome).parse().unwrap();
    assert!((1..=5000 * u64::from(allowance())).contains(&left), "{left}");
}

#[tokio::test]
async fn wasi_logging_goes_into_the_jobs_log_line_by_line() {
    let logging = r#"(import "wasi:logging/logging@0.1.0-draft" (instance $logging
          (type $l (enum "trace" "debug" "info" "warn" "error" "critical"))
          (export "level" (type $level (eq $l)))
          (export "log" (func (param "level" $level) (param "context" string) (param "message" string)))))
        (core module $libc (memory (export "memory") 1) (data (i32.const 16) "mail") (data (i32.const 32) "one\ntwo")
          (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024)))
        (core instance $libc' (instantiate $libc))
        (core func $log (canon lower (func $logging "log") (memory (core memory $libc' "memory"))
          (realloc (core func $libc' "realloc"))))
        (core instance $host (export "log" (func $log)))"#;
    let module = format!(
        r#"(import "host" "log" (func $log (param i32 i32 i32 i32 i32))) {}"#,
        handle(
            "(call $log (i32.const 3) (i32.const 16) (i32.const 4) (i32.const 32) (i32.const 7)) (i32.const 1024)"
        )
    );
    let component = by_hand_with(logging, r#"(with "host" (instance $host))"#, &module);
    let runner = runner(&admit(&component, Grants::default()).unwrap(), Limits::default());
    let attempt = attempt(job("any", "{}"));
    let report = run(&runner, &attempt).await;
    assert!(matches!(report.outcome, Outcome::Complete(_)), "{report:?}");
    assert_eq!(attempt.io.take().logs, ["WARN mail: one", "WARN mail: two"]);
}

#[tokio::test]
async fn the_guest_has_no_environment_arguments_or_folders() {
    let wasi = r#"(import "wasi:cli/environment@0.2.0" (instance $env
          (export "get-environment" (func (result (list (tuple string string)))))
          (export "get-arguments" (func (result (list string))))))
        (import "wasi:filesystem/types@0.2.0" (instance $fs (export "descriptor" (type (sub resource)))))
        (alias export $fs "descriptor" (type $descriptor))
        (import "wasi:filesystem/preopens@0.2.0" (instance $preopens (alias outer 1 $descriptor (type $d))
          (export "get-directories" (func (result (list (tuple (own $d) string)))))))
        (core module $libc (memory (export "memory") 1)
          (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024)))
        (core instance $libc' (instantiate $libc))
        (core func $vars (canon lower (func $env "get-environment") (memory (core memory $libc' "memory"))
          (realloc (core func $libc' "realloc"))))
        (core func $args (canon lower (func $env "get-arguments") (memory (core memory $libc' "memory"))
          (realloc (core func $libc' "realloc"))))
        (core func $dirs (canon lower (func $preopens "get-directories") (memory (core memory $libc' "memory"))
          (realloc (core func $libc' "realloc"))))
        (core instance $host (export "vars" (func $vars)) (export "args" (func $args)) (export "dirs" (func $dirs))
          (export "memory" (memory $libc' "memory")))"#;
    // Traps when any of the three lists has an entry: their lengths lie at 4, 12 and 20.
    let module = r#"(import "host" "vars" (func $vars (param i32))) (import "host" "args" (func $args (param i32)))
        (import "host" "dirs" (func $dirs (param i32))) (import "host" "memory" (memory 1))
        (export "memory" (memory 0))
        (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 4096))
        (func (export "handle") (param i32) (result i32)
          (call $vars (i32.const 0)) (call $args (i32.const 8)) (call $dirs (i32.const 16))
          (if (i32.or (i32.load (i32.const 4)) (i32.or (i32.load (i32.const 12)) (i32.load (i32.const 20))))
            (then unreachable))
          (i32.const 2048))"#;
    let component = by_hand_with(wasi, r#"(with "host" (instance $host))"#, module);
    let runner = runner(&admit(&component, Grants::default()).unwrap(), Limits::default());
    let report = run(&runner, &attempt(job("any", "{}"))).await;
    assert!(matches!(report.outcome, Outcome::Complete(_)), "{report:?}");
}

#[tokio::test]
async fn sockets_link_and_refuse() {
    let sockets = r#"(import "wasi:sockets/network@0.2.0" (instance $network
          (type $code' (enum "unknown" "access-denied" "not-supported" "invalid-argument" "out-of-memory" "timeout"
            "concurrency-conflict" "not-in-progress" "would-block" "invalid-state" "new-socket-limit"
            "address-not-bindable" "address-in-use" "remote-unreachable" "connection-refused" "connection-reset"
            "connection-aborted" "datagram-too-large" "name-unresolvable" "temporary-resolver-failure"
            "permanent-resolver-failure"))
          (export "error-code" (type (eq $code')))
          (type $family' (enum "ipv4" "ipv6"))
          (export "ip-address-family" (type (eq $family')))))
        (alias export $network "error-code" (type $code))
        (alias export $network "ip-address-family" (type $family))
        (import "wasi:sockets/tcp@0.2.0" (instance $tcp (export "tcp-socket" (type (sub resource)))))
        (alias export $tcp "tcp-socket" (type $socket))
        (import "wasi:sockets/tcp-create-socket@0.2.0" (instance $create
          (alias outer 1 $socket (type $s')) (export "tcp-socket" (type $s (eq $s')))
          (alias outer 1 $code (type $c')) (export "error-code" (type $c (eq $c')))
          (alias outer 1 $family (type $f')) (export "ip-address-family" (type $f (eq $f')))
          (export "create-tcp-socket" (func (param "address-family" $f) (result (result (own $s) (error $c)))))))
        (core module $libc (memory (export "memory") 1)
          (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024)))
        (core instance $libc' (instantiate $libc))
        (core func $new (canon lower (func $create "create-tcp-socket") (memory (core memory $libc' "memory"))
          (realloc (core func $libc' "realloc"))))
        (core instance $host (export "new" (func $new)) (export "memory" (memory $libc' "memory")))"#;
    // Traps unless the answer is the error (1) with the code access-denied (1).
    let module = r#"(import "host" "new" (func $new (param i32 i32))) (import "host" "memory" (memory 1))
        (export "memory" (memory 0))
        (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 4096))
        (func (export "handle") (param i32) (result i32)
          (call $new (i32.const 0) (i32.const 0))
          (if (i32.ne (i32.load8_u (i32.const 0)) (i32.const 1)) (then unreachable))
          (if (i32.ne (i32.load8_u (i32.const 4)) (i32.const 1)) (then unreachable))
          (i32.const 2048))"#;
    let component = by_hand_with(sockets, r#"(with "host" (instance $host))"#, module);
    let runner = runner(&admit(&component, Grants::default()).unwrap(), Limits::default());
    let report = run(&runner, &attempt(job("any", "{}"))).await;
    assert!(matches!(report.outcome, Outcome::Complete(_)), "{report:?}");
}

#[test]
fn the_sdks_and_the_hosts_texts_of_the_interfaces_agree() {
    for name in ["basic", "capable", "settings"] {
        admit(&guest(name), all_grants()).unwrap();
    }
}
