//! Whole configurations in, data or faults out. The environment is a map; nothing touches the process.

use std::path::PathBuf;
use std::time::Duration;

use jobcell_core::options::BackoffKind;
use jobcell_core::store::RateLimit;
use jobcell_wasm::{Compiler, CompilerProcess};

use super::table::{Absent, Inner, Section};
use super::*;

fn request(toml: &str, environment: &[(&str, &str)]) -> Request {
    Request {
        file: FileChoice::Text(PathBuf::from("jobcell.toml"), toml.to_owned()),
        environment: environment
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        secrets: true,
        ..Request::default()
    }
}

#[track_caller]
fn sound(toml: &str, environment: &[(&str, &str)]) -> Config {
    load(&request(toml, environment)).unwrap_or_else(|error| panic!("{error}"))
}

fn faults(toml: &str, environment: &[(&str, &str)]) -> Vec<String> {
    load_all(&request(toml, environment)).faults.iter().map(ToString::to_string).collect()
}

/// One fault, which holds all these parts.
#[track_caller]
fn one_fault(toml: &str, environment: &[(&str, &str)], parts: &[&str]) {
    let faults = faults(toml, environment);
    assert_eq!(faults.len(), 1, "{faults:#?}");
    for part in parts {
        assert!(faults[0].contains(part), "{part:?} is not in: {}", faults[0]);
    }
}

const HANDLER: &str = "[handlers.h]\nsource = \"h.wasm\"\n";

/// The example of the public contract, with what its text leaves open filled in.
const CONTRACT: &str = r#"
[redis]
url = "redis://127.0.0.1:6379"
prefix = "bull"
[embedded]
path = ".jobcell"
[server]
listen = "127.0.0.1:8787"
tokens = [{ name = "ops", role = "operator", sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" }]
[shutdown]
grace = "25s"
[queues.donations]
handlers = { "verify-payment" = "payment", "*" = "notification" }
concurrency = 16
rate = { max = 100, per = "1s" }
lock = "30s"
stalled-interval = "30s"
max-stalled = 1
keep = { completed = "1000", failed = "7d" }
poll = "5s"
name = "media-1"
metrics-points = 20160
[queues.overlay]
protocol = "list"
key = "job_queue"
record = "job:{id}"
updates = "job_updates"
attempts = 3
backoff = { type = "exponential", delay = "1s", jitter = 0.5 }
handler = "notification"
[handlers.media]
source = "handlers/media.wasm"
limits = { memory = "128MiB", deadline = "30s", result = "1MiB", log = "64KiB" }
retries = "newest"
[handlers.media.grants]
http = [{ url = "https://*.supabase.co", methods = ["GET", "PUT"], secrets = ["supabase"] }]
blobs = ["uploads"]
cache = true
kv = ["media"]
enqueue = ["overlay"]
publish = ["job_updates"]
config = { bucket = "media" }
secrets = ["stripe-webhook"]
[handlers.payment]
source = "store"
[handlers.notification]
source = "oci://ghcr.io/acme/notify@sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
[secrets]
stripe-webhook = { env = "STRIPE_WEBHOOK_SECRET" }
supabase = { env = "SUPABASE_KEY" }
[blobs.uploads]
url = "file:///var/lib/jobcell/uploads"
[trust]
require-signature = true
keys = ["ed25519:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="]
"#;

#[test]
fn the_example_of_the_contract_is_read_whole() {
    let config = sound(CONTRACT, &[("STRIPE_WEBHOOK_SECRET", "whsec_1"), ("SUPABASE_KEY", "key_1")]);
    let redis = config.redis.as_ref().unwrap();
    assert_eq!((redis.url.expose(), redis.prefix.as_str()), ("redis://127.0.0.1:6379", "bull"));
    assert_eq!(config.server.tokens[0].role, Role::Operator);
    assert_eq!(config.shutdown.grace, Duration::from_secs(25));
    let donations = &config.queues["donations"];
    assert_eq!(donations.handlers["verify-payment"], "payment");
    assert_eq!(donations.handlers["*"], "notification");
    assert_eq!(donations.rate, Some(RateLimit { max: 100, per: Duration::from_secs(1) }));
    assert_eq!((donations.metrics_points, donations.worker_name.as_deref()), (20160, Some("media-1")));
    let Protocol::List(list) = &config.queues["overlay"].protocol else { panic!("overlay is a list") };
    assert_eq!((list.key.as_str(), list.record.as_str(), list.attempts), ("job_queue", "job:{id}", 3));
    assert_eq!((&list.backoff.kind, list.backoff.delay), (&BackoffKind::Exponential, 1000));
    let media = &config.handlers["media"];
    assert_eq!(media.source, HandlerSource::Path("handlers/media.wasm".into()));
    assert_eq!(media.limits.memory, 128 << 20);
    assert_eq!((media.grants.http.len(), media.grants.cache), (1, true));
    assert_eq!(media.grants.config["bucket"], "media");
    assert_eq!(config.handlers["payment"].source, HandlerSource::Store);
    assert_eq!(config.secrets["stripe-webhook"].expose(), "whsec_1");
    assert!(config.trust.require_signature && config.warnings.is_empty());
}

#[test]
fn a_compiler_process_has_two_thirds_of_its_time_to_compute() {
    let process = |memory, cpu, wall| {
        let (cpu, wall) = (Duration::from_secs(cpu), Duration::from_secs(wall));
        Compiler::Process(CompilerProcess { program: None, memory, cpu, wall })
    };
    assert_eq!(sound("", &[]).cells.compiler, process(1 << 30, 20, 30));
    assert_eq!(sound("", &[]).cells.compiler, Compiler::default());
    let own = "[cells]\ncompile-memory = \"512MiB\"\ncompile-time = \"1s\"\n";
    assert_eq!(sound(own, &[]).cells.compiler, process(512 << 20, 1, 1));
    assert_eq!(sound("[cells]\ncompiler = \"inline\"\n", &[]).cells.compiler, Compiler::Inline);
    let faults = faults("[cells]\ncompiler = \"thread\"\n", &[]);
    assert!(faults[0].contains("\"process\" or \"inline\""), "{faults:?}");
}

#[test]
fn buckets_have_plain_names() {
    let with = |kv: &str| format!("[handlers.h]\nsource = \"h.wasm\"\ngrants = {{ kv = {kv} }}\n");
    let long = "b".repeat(64);
    let config = sound(&with(&format!("[\"media\", \"a-b_c.2\", \"{long}\"]")), &[]);
    assert_eq!(config.handlers["h"].grants.kv, ["media", "a-b_c.2", &long]);
    for bad in ["\"\"", "\"a*\"", "\"a:b\"", "\"a b\"", "\"{a}\"", "\"é\"", &format!("\"b{long}\"")] {
        let faults = faults(&with(&format!("[\"media\", {bad}]")), &[]);
        assert!(
            faults.len() == 1 && faults[0].contains("1 to 64 letters") && faults[0].contains("grants.kv"),
            "{faults:?}"
        );
    }
}

#[test]
fn nothing_written_is_a_sound_host_on_the_embedded_store() {
    let config = sound("", &[]);
    assert!(config.redis.is_none() && config.queues.is_empty());
    assert_eq!(config.embedded.path, PathBuf::from(".jobcell"));
    assert_eq!(config.cells.cache, PathBuf::from(".jobcell/compiled"));
    assert_eq!(config.server.listen.to_string(), "127.0.0.1:8787");
}

#[test]
fn all_faults_are_told_at_once_with_key_value_place_and_fix() {
    let toml = "[server]\nlisten = \"nowhere\"\nlissten = 1\n\n[queues.a]\nhandler = \"h\"\nconcurrency = 0\n\
                lock = \"30 parsecs\"\n\n[queues.b]\nhandler = \"hh\"\n\n[handlers.h]\nlimits = { memory = 5 }\n";
    let faults = faults(toml, &[("JOBCELL_SHUTDOWN__GRACE", "long"), ("JOBCELL_SERVER__TOKNES", "[]")]);
    let expected = [
        "jobcell.toml:2: server.listen = \"nowhere\": is not an IP address",
        "jobcell.toml:3: server.lissten: unknown key; did you mean \"listen\"?",
        "jobcell.toml:7: queues.a.concurrency = 0: is too small; write a whole number, at least 1",
        "jobcell.toml:8: queues.a.lock = \"30 parsecs\": is not a duration",
        "jobcell.toml:11: queues.b.handler: \"hh\" is not declared in [handlers]; did you mean \"h\"?",
        "jobcell.toml:13: handlers.h.source: is missing; add `source = …`",
        "jobcell.toml:14: handlers.h.limits.memory = 5: has no unit; write a size",
        "environment variable JOBCELL_SERVER__TOKNES: names no key; did you mean JOBCELL_SERVER__TOKENS?",
        "environment variable JOBCELL_SHUTDOWN__GRACE: shutdown.grace = \"long\": is not a duration",
    ];
    assert_eq!(faults.len(), expected.len(), "{faults:#?}");
    for (fault, expected) in faults.iter().zip(expected) {
        assert!(fault.starts_with(expected), "{fault}\nis not\n{expected}");
    }
}

#[test]
fn every_place_where_the_syntax_breaks_is_told() {
    let faults = faults("[server\nlisten = \"127.0.0.1:1\"\n[queues.a]\nhandler = \n", &[]);
    assert!(faults.len() >= 2, "{faults:#?}");
    assert!(faults[0].starts_with("jobcell.toml:1: not valid TOML"), "{faults:#?}");
    assert!(faults.iter().any(|fault| fault.starts_with("jobcell.toml:4:")), "{faults:#?}");
}

#[test]
fn a_flag_beats_the_environment_and_that_the_file_field_by_field() {
    let toml = "[redis]\nurl = \"redis://file\"\nprefix = \"file\"\n[server]\nlisten = \"127.0.0.1:1\"\n";
    let environment = [("REDIS_URL", "redis://environment"), ("JOBCELL_SERVER__LISTEN", "127.0.0.1:2")];
    let mut request = request(toml, &environment);
    let config = load(&request).unwrap();
    assert_eq!(config.redis.as_ref().unwrap().url.expose(), "redis://environment");
    assert_eq!(config.redis.as_ref().unwrap().prefix, "file");
    assert_eq!(config.server.listen.port(), 2);
    request.redis = Some("redis://flag".to_owned());
    assert_eq!(load(&request).unwrap().redis.unwrap().url.expose(), "redis://flag");
    request.redis = None;
    request.environment = [("JOBCELL_REDIS__URL", "redis://own"), ("REDIS_URL", "redis://common")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into_iter()
        .collect();
    assert_eq!(load(&request).unwrap().redis.unwrap().url.expose(), "redis://own");
}

#[test]
fn variables_find_chosen_names_and_read_toml_or_text() {
    let toml = format!("{HANDLER}[queues.my_Queue]\nhandler = \"h\"\n");
    let config = sound(
        &toml,
        &[
            ("JOBCELL_QUEUES__MY_QUEUE__STALLED_INTERVAL", "10s"),
            ("JOBCELL_QUEUES__NEW_ONE__HANDLER", "h"),
            ("JOBCELL_QUEUES__NEW_ONE__RATE", "{ max = 5, per = \"1s\" }"),
            ("JOBCELL_REDIS__PREFIX", "7"),
            ("JOBCELL_REDIS__URL", "redis://h"),
            ("JOBCELL_HANDLERS__H__GRANTS__CONFIG__WIDTH", "100"),
        ],
    );
    assert_eq!(config.queues["my_Queue"].stalled_interval, Duration::from_secs(10));
    assert_eq!(config.queues["new-one"].rate.unwrap().max, 5);
    assert_eq!(config.redis.unwrap().prefix, "7");
    assert_eq!(config.handlers["h"].grants.config["width"], "100");
}

#[test]
fn variables_that_are_none_of_ours_are_left_alone_and_near_misses_are_told() {
    let kubernetes = [("JOBCELL_PORT", "tcp://10.0.0.1:8787"), ("JOBCELL_SERVICE_HOST", "10.0.0.1")];
    assert!(faults("", &kubernetes).is_empty());
    one_fault("", &[("JOBCELL_SERVER_LISTEN", "x")], &["write JOBCELL_SERVER__LISTEN"]);
    one_fault("", &[("JOBCELL_SERVER__LISTEN__X", "x")], &["JOBCELL_SERVER__LISTEN has nothing inside"]);
    assert!(faults("", &[("JOBCELL_SERVER__LISTEN", "")]).is_empty(), "an empty variable is not set");
}

#[test]
fn redis_is_found_in_its_common_variables() {
    let url = |environment: &[(&str, &str)]| {
        sound("", environment).redis.map(|redis| redis.url.expose().to_owned())
    };
    assert_eq!(url(&[]), None);
    assert_eq!(url(&[("REDIS_HOST", "h")]).as_deref(), Some("redis://h:6379/0"));
    let all = [
        ("REDIS_HOST", "h"),
        ("REDIS_PORT", "6380"),
        ("REDIS_USERNAME", "app"),
        ("REDIS_PASSWORD", "p@ss/wörd"),
        ("REDIS_DB", "2"),
        ("REDIS_TLS", "true"),
    ];
    assert_eq!(url(&all).as_deref(), Some("rediss://app:p%40ss%2Fw%C3%B6rd@h:6380/2"));
    assert_eq!(url(&[("REDIS_HOST", "h"), ("REDIS_PASSWORD", "")]).as_deref(), Some("redis://h:6379/0"));
    assert_eq!(url(&[("REDIS_HOST", "::1")]).as_deref(), Some("redis://[::1]:6379/0"));
    assert_eq!(url(&[("REDIS_URL", "redis://u"), ("REDIS_HOST", "h")]).as_deref(), Some("redis://u"));
    let completed = url(&[("REDIS_URL", "redis://u:1/3"), ("REDIS_PASSWORD", "secret")]);
    assert_eq!(completed.as_deref(), Some("redis://:secret@u:1/3"));
    one_fault(
        "",
        &[("REDIS_HOST", "h"), ("REDIS_PORT", "tcp://10.0.0.1:6379")],
        &["REDIS_PORT", "Kubernetes"],
    );
    assert_eq!(faults("", &[("REDIS_HOST", "h"), ("REDIS_DB", "x"), ("REDIS_TLS", "maybe")]).len(), 2);
}

#[test]
fn parts_of_an_address_go_over_the_file_field_by_field() {
    let toml = "[redis]\nurl = \"redis://app:file-pw@h:6380/1\"\n";
    let url = |environment: &[(&str, &str)]| {
        sound(toml, environment).redis.map(|redis| redis.url.expose().to_owned()).unwrap()
    };
    for (name, value, expected) in [
        ("REDIS_PORT", "7000", "redis://app:file-pw@h:7000/1"),
        ("REDIS_DB", "4", "redis://app:file-pw@h:6380/4"),
        ("REDIS_TLS", "yes", "rediss://app:file-pw@h:6380/1"),
        ("REDIS_TLS", "false", "redis://app:file-pw@h:6380/1"),
        ("REDIS_USERNAME", "other", "redis://other:file-pw@h:6380/1"),
        ("REDIS_PASSWORD", "p@ss/1", "redis://app:p%40ss%2F1@h:6380/1"),
        // Kubernetes sets this one beside a service named redis.
        ("REDIS_PORT", "tcp://10.0.0.1:6379", "redis://app:file-pw@h:6380/1"),
    ] {
        assert_eq!(url(&[(name, value)]), expected, "{name}={value}");
    }
    one_fault(
        toml,
        &[("REDIS_PORT", "many")],
        &["environment variable REDIS_PORT = \"many\": is not a port; write a number"],
    );
    // A flag stands for itself, but for a password, which has no place on a command line.
    let mut whole =
        request(toml, &[("REDIS_PORT", "7000"), ("REDIS_USERNAME", "u"), ("REDIS_PASSWORD", "x@")]);
    for (flag, expected) in
        [("redis://flag", "redis://u:x%40@flag"), ("redis://me:pw@flag/2", "redis://me:pw@flag/2")]
    {
        whole.redis = Some(flag.to_owned());
        assert_eq!(load(&whole).unwrap().redis.unwrap().url.expose(), expected);
    }
    let socket = sound("[redis]\nurl = \"unix:///run/redis.sock\"", &[("REDIS_DB", "2")]);
    assert_eq!(socket.redis.unwrap().url.expose(), "unix:///run/redis.sock");
    assert!(socket.warnings[0].contains("REDIS_DB has no effect on the socket"), "{:?}", socket.warnings);
}

#[test]
fn every_way_of_running_redis_is_configured() {
    let redis = |toml: &str, environment: &[(&str, &str)]| sound(toml, environment).redis.unwrap();
    let toml = "[redis]\nurl = \"rediss+sentinel://:pw123@h1,h2/main\"\nca = \"ca.pem\"\ncert = \"us.pem\"\n\
                key = \"us.key\"\nsentinel-username = \"watcher\"\n";
    let sentinel = redis(toml, &[("JOBCELL_REDIS__SENTINEL_PASSWORD", "pw123"), ("REDIS_DB", "4")]);
    assert_eq!(sentinel.url.expose(), "rediss+sentinel://:pw123@h1,h2/main/4");
    assert!(sentinel.ca.as_ref().is_some_and(|path| path.ends_with("ca.pem")));
    assert!(sentinel.certificate.is_some());
    let shown = format!("{sentinel:?} {:?}", sentinel.connect_options().unwrap());
    assert!(shown.contains("watcher") && !shown.contains("pw123"), "{shown}");
    let cluster = redis("", &[("REDIS_URL", "redis+cluster://h1:1,h2"), ("REDIS_PASSWORD", "p@")]);
    assert_eq!(cluster.url.expose(), "redis+cluster://:p%40@h1:1,h2");
    assert!(cluster.connect_options().unwrap().is_cluster());
    let port = sound("[redis]\nurl = \"redis+cluster://h1,h2\"", &[("REDIS_PORT", "7")]);
    assert!(port.warnings[0].contains("REDIS_PORT has no effect"), "{:?}", port.warnings);
}

#[test]
fn a_redis_that_cannot_be_read_is_one_fault_and_no_list_queue_is_blamed_for_it() {
    let list = "[queues.work]\nprotocol = \"list\"\nhandler = \"h\"\n[handlers.h]\nsource = \"h.wasm\"\n";
    one_fault(list, &[], &["protocol", "a list queue lives in Redis, and none is configured"]);
    for url in ["redis://h:99999", "http://h"] {
        one_fault(&format!("[redis]\nurl = \"{url}\"\n{list}"), &[], &["jobcell.toml:2: redis.url"]);
        one_fault(list, &[("REDIS_URL", url)], &["REDIS_URL"]);
    }
    one_fault(list, &[("REDIS_HOST", "a/b")], &["REDIS_HOST"]);
    one_fault(&format!("[redis]\nprefix = \"x\"\n{list}"), &[], &["redis.url: is missing"]);
}

#[test]
fn what_belongs_to_another_way_of_running_redis_is_a_fault() {
    let with = |url: &str, line: &str| format!("[redis]\nurl = \"{url}\"\n{line}");
    for line in ["ca = \"ca.pem\"", "cert = \"c.pem\"\nkey = \"k.pem\""] {
        one_fault(&with("redis://h", line), &[], &["without", "rediss://"]);
    }
    one_fault(&with("rediss://h", "cert = \"c.pem\""), &[], &["redis.cert", "no `key`"]);
    one_fault(&with("rediss://h", "key = \"c.pem\""), &[], &["redis.key", "no `cert`"]);
    one_fault(
        &with("redis://h", "sentinel-username = \"u\""),
        &[],
        &["redis.sentinel-username", "redis+sentinel://"],
    );
    let told = faults(&with("redis://h", "sentinel-password = \"pw123\""), &[]);
    assert!(told.len() == 1 && !told[0].contains("pw123"), "{told:?}");
}

#[test]
fn parts_of_an_address_without_one_are_a_fault_and_two_addresses_a_warning() {
    for name in ["REDIS_PORT", "REDIS_DB", "REDIS_USERNAME", "REDIS_PASSWORD", "REDIS_TLS"] {
        one_fault("", &[(name, "1")], &[name, "no Redis is configured", "set REDIS_HOST or REDIS_URL"]);
    }
    one_fault("", &[("REDIS_PORT", "1"), ("REDIS_TLS", "true")], &["REDIS_PORT", "REDIS_TLS"]);
    let told = faults("", &[("REDIS_PASSWORD", "hunter2")]);
    assert!(!told[0].contains("hunter2"), "{told:?}");
    assert!(
        faults("", &[("REDIS_PORT", "tcp://10.0.0.1:6379")]).is_empty(),
        "Kubernetes means another Redis"
    );
    let both = sound("", &[("REDIS_URL", "redis://u"), ("REDIS_HOST", "h"), ("REDIS_DB", "1")]);
    assert_eq!(both.redis.unwrap().url.expose(), "redis://u");
    assert_eq!(both.warnings.len(), 1, "{:?}", both.warnings);
    for part in ["REDIS_URL is used", "REDIS_HOST, REDIS_DB"] {
        assert!(both.warnings[0].contains(part), "{:?}", both.warnings);
    }
}

#[test]
fn a_grant_that_is_written_as_an_empty_list_is_not_one_that_is_absent() {
    use jobcell_wasm::Need::{Enqueue, Http, Secrets};
    let grants = |toml: &str| {
        sound(&format!("{HANDLER}[handlers.h.grants]\n{toml}"), &[]).handlers["h"].grants.clone()
    };
    let written = grants("http = []\nsecrets = []\nenqueue = []\nkv = [\"a\"]\ncache = false\n");
    assert_eq!(Vec::from_iter(written.refused), [Http, Enqueue, Secrets]);
    assert!(grants("cache = true\n").refused.is_empty());
}

#[test]
fn logins_in_urls_are_not_shown() {
    for toml in [
        "[blobs.b]\nurl = \"https://u:pw123@h/x\"",
        "[blobs.b]\nurl = \"s3://u:pw123@bucket\"",
        "[blobs.b]\nurl = \"u:pw123@h\"",
        "[blobs.b]\nurl = \"u:pw123@h://x\"",
        "[blobs.b]\nurl = \"ftp://h/?key=pw123\"",
        "[handlers.h]\nsource = \"https://u:pw123@h/x.wasm\"",
        "[handlers.h]\nsource = \"oci://u:pw123@h/x\"",
        "[handlers.h]\nsource = \"h.wasm\"\ngrants = { http = [{ url = \"https://u:pw123@h\" }] }",
        "[handlers.h]\nsource = \"h.wasm\"\ngrants = { http = [{ url = \"https://u:pw123/x@h\" }] }",
        "[server]\nlisten = \"http://u:pw123@127.0.0.1:1\"",
        "[redis]\nurl = \"http://u:pw123@h\"",
        "[redis]\nurl = \"redis://u:pw123@h:port\"",
    ] {
        let told = faults(toml, &[]);
        assert_eq!(told.len(), 1, "{toml}: {told:#?}");
        assert!(!told[0].contains("pw123"), "{told:#?}");
    }
    one_fault("[blobs.b]\nurl = \"https://u:pw123@h/x\"", &[], &["blobs.b.url = \"https://***@h/x\""]);
}

#[test]
fn redis_urls_are_checked_and_shown_without_passwords() {
    for bad in [
        "\"localhost\"",
        "\"http://h\"",
        "\"redis://\"",
        "\"redis+sentinel://h1,h2\"",
        "\"rediss+cluster://h1,h2/1\"",
        "\"redis://h1,h2\"",
        "\"redis+sentry://h1,h2\"",
        "\"redis://:6379\"",
        "\"redis://h:99999\"",
        "\"redis://h/notadb\"",
        "\"redis://h?password=secret\"",
        "5",
    ] {
        one_fault(&format!("[redis]\nurl = {bad}"), &[], &["jobcell.toml:2: redis.url: "]);
    }
    one_fault("[redis]\nprefix = \"x\"", &[], &["redis.url: is missing"]);
    let known =
        ["unknown scheme \"redis+sentry\"", "redis+sentinel://", "redis+cluster://", "rediss://", "unix://"];
    one_fault("", &[("REDIS_URL", "redis+sentry://h")], &known);
    for (url, shown) in [
        ("redis://user:secret@h:1/2", "redis://user:***@h:1/2"),
        ("redis://:sec@ret@h", "redis://:***@h"),
        ("unix:///run/redis.sock?pass=secret", "unix:///run/redis.sock"),
        ("rediss+sentinel://u:secret@h1:1,h2/main/2", "rediss+sentinel://u:***@h1:1,h2/main/2"),
        ("redis+cluster://:secret@h1:1,h2:2", "redis+cluster://:***@h1:1,h2:2"),
        // A '/' in a password ends the hosts; what is left of it is no less a password.
        ("redis+sentinel://u:sec@h1,h2/ret@h", "redis+sentinel://u:***@h"),
    ] {
        let url = RedisUrl::new(url).unwrap();
        assert_eq!((url.to_string(), format!("{url:?}")), (shown.to_owned(), shown.to_owned()));
    }
}

#[test]
fn secrets_are_resolved_when_wanted_and_shown_nowhere() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("key");
    std::fs::write(&file, "file-value-1\n").unwrap();
    let toml = format!("[secrets]\na = {{ env = \"A\" }}\nb = {{ file = {file:?} }}\n");
    let mut request = request(&toml, &[("A", "env-value-1")]);
    let config = load(&request).unwrap();
    assert_eq!((config.secrets["a"].expose(), config.secrets["b"].expose()), ("env-value-1", "file-value-1"));
    let shown = format!("{config:?} {} {request:?}", config.secrets["a"]);
    assert!(!shown.contains("env-value") && !shown.contains("file-value"), "{shown}");
    request.environment = Environment::default();
    request.secrets = false;
    assert!(load(&request).unwrap().secrets.is_empty(), "nobody wants them, so none is missing");
}

#[test]
fn secrets_that_cannot_be_had_are_told_by_name_only() {
    one_fault("[secrets]\na = { env = \"A_KEY\" }", &[], &["secrets.a.env", "A_KEY is not set"]);
    one_fault("[secrets]\na = { file = \"/no/such\" }", &[], &["secrets.a.file", "/no/such"]);
    one_fault("[secrets]\na = { env = \"A\", file = \"b\" }", &[("A", "x")], &["secrets.a", "keep one"]);
    one_fault("[secrets]\na = {}", &[], &["secrets.a", "does not say where"]);
    for leak in
        ["[secrets]\na = \"hunter2\"", "[secrets.a]\nvalue = \"hunter2\"", "[redis]\nurl = \"hunter2\""]
    {
        let told =
            faults(leak, &[("JOBCELL_SECRETS__B", "hunter2"), ("JOBCELL_SERVER__PASSWORD", "hunter2")]);
        assert!(told.len() >= 3 && told.iter().all(|fault| !fault.contains("hunter2")), "{told:#?}");
    }
}

#[test]
fn a_secret_of_a_rule_is_a_name_or_has_its_places() {
    let toml = format!(
        "{HANDLER}[handlers.h.grants]\nhttp = [{{ url = \"https://a.example\", secrets = [\"key\", {{ name = \"key\", in = \
         [\"url\", \"body\", \"header:x-a\"] }}] }}]\nsecrets = [\"key\"]\n[secrets]\nkey = {{ env = \"K\" }}\n"
    );
    sound(&toml, &[("K", "v")]);
}

#[test]
fn authorities_of_outgoing_requests_are_read_where_handlers_run() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let key = rcgen::KeyPair::generate().unwrap();
    let pem = rcgen::CertificateParams::new([]).unwrap().self_signed(&key).unwrap().pem();
    std::fs::write(at("ca.pem"), &pem).unwrap();
    std::fs::write(at("empty.pem"), "").unwrap();
    std::fs::write(at("key.pem"), key.serialize_pem()).unwrap();
    let toml = |name: &str| format!("[http]\nca = {:?}\n", at(name));
    assert_eq!(sound(&toml("ca.pem"), &[]).http.ca, pem.as_bytes());
    for (name, cause) in
        [("none.pem", "No such file"), ("empty.pem", "is empty"), ("key.pem", "there is no certificate")]
    {
        one_fault(&toml(name), &[], &["http.ca", name, cause, "BEGIN CERTIFICATE"]);
    }
    let unwanted = Request { secrets: false, ..request(&toml("none.pem"), &[]) };
    assert!(load(&unwanted).unwrap().http.ca.is_empty(), "nobody sends anything");
}

#[test]
fn references_lead_somewhere() {
    let grants =
        |line: &str| format!("{HANDLER}[handlers.h.grants]\n{line}\n[secrets]\nkey = {{ env = \"K\" }}\n");
    let environment = [("K", "v")];
    for (line, parts) in [
        ("secrets = [\"kee\"]", ["handlers.h.grants.secrets", "did you mean \"key\""]),
        ("secrets = [{ name = \"kee\", reveal = true }]", ["\"kee\" is not declared in [secrets]", "key"]),
        ("blobs = [\"uploads\"]", ["handlers.h.grants.blobs", "[blobs] is empty"]),
        (
            "http = [{ url = \"https://a.example\", secrets = [\"kee\"] }]",
            ["grants.http[0].secrets", "\"kee\""],
        ),
        ("http = [{ url = \"ftp://a\" }]", ["grants.http[0].url = \"ftp://a\"", "https://"]),
        (
            "http = [{ url = \"https://*\", secrets = [\"key\"] }]",
            ["grants.http[0].url", "sends its secrets to anybody"],
        ),
        (
            "http = [{ url = \"http://a.example\", secrets = [\"key\"] }]",
            ["grants.http[0].url", "unencrypted"],
        ),
        (
            "http = [{ url = \"https://a.example\", secrets = [{ name = \"key\", in = [\"query\"] }] }]",
            ["grants.http[0].secrets", "\"query\" is no place"],
        ),
        (
            "http = [{ url = \"https://a.example\", secrets = [{ name = \"key\", at = [\"url\"] }] }]",
            ["grants.http[0].secrets", "unknown key \"at\""],
        ),
        ("http = [{ methods = [\"GET\"] }]", ["grants.http[0].url", "is missing"]),
        ("secrets = [{ name = \"key\", revael = true }]", ["unknown key", "revael"]),
    ] {
        one_fault(&grants(line), &environment, &parts);
    }
    let native = Request {
        native_handlers: vec!["built-in".to_owned()],
        ..request("[queues.q]\nhandler = \"built-in\"", &[])
    };
    assert!(load(&native).is_ok());
}

#[test]
fn queues_are_checked_against_what_they_are() {
    let queue = |line: &str| format!("{HANDLER}[queues.q]\n{line}\n");
    one_fault(&queue(""), &[], &["jobcell.toml:3: queues.q: the queue has no handler"]);
    one_fault(&queue("handler = \"h\"\nhandlers = { a = \"h\" }"), &[], &["beside `handlers`"]);
    one_fault(
        &queue("handler = \"h\"\nkey = \"list\""),
        &[],
        &["queues.q.key", "no meaning for a BullMQ queue"],
    );
    one_fault(&queue("handler = \"h\"\nrate = { max = 5 }"), &[], &["queues.q.rate.per", "is missing"]);
    one_fault(&queue("handler = \"h\"\nname = \"a b\""), &[], &["queues.q.name = \"a b\"", "space"]);
    one_fault(&queue("handler = \"h\"\nprotocol = \"list\""), &[], &["add [redis]"]);
    let redis = [("REDIS_URL", "redis://h")];
    one_fault(&queue("handler = \"h\"\nprotocol = \"list\"\nrecord = \"x\""), &redis, &["{id}"]);
    one_fault(&format!("{HANDLER}[queues.\"a:b\"]\nhandler = \"h\""), &[], &["has a ':'", "rename"]);
    one_fault("[handlers.\"a b\"]\nsource = \"x\"", &[], &["name cannot be used"]);
    let large = format!("{HANDLER}limits.memory = \"2GiB\"");
    one_fault(&large, &[], &["jobcell.toml:3: handlers.h.limits.memory = \"2GiB\"", "cells.memory-max"]);
}

#[test]
fn limits_keep_to_the_engine_and_to_the_operators_ceilings() {
    let toml =
        format!("{HANDLER}limits.instances = 33\nlimits.table-elements = 20001\n[cells]\nstack = \"1KiB\"\n");
    let told = faults(&toml, &[]).join("\n");
    for part in [
        "jobcell.toml:3: handlers.h.limits.instances = 33: is above what a cell can have; write at most 32",
        "jobcell.toml:4: handlers.h.limits.table-elements = 20001",
        "raise cells.table-elements-max (now 20000)",
        "jobcell.toml:6: cells.stack = \"1KiB\"",
    ] {
        assert!(told.contains(part), "{part:?} is not in: {told}");
    }

    let toml =
        format!("[cells.ceilings]\nmemory = \"32MiB\"\nhttp.requests = 2\n{HANDLER}limits.cpu = \"1h\"\n");
    let config = sound(&toml, &[("JOBCELL_CELLS__CEILINGS__DEPTH", "3")]);
    let limits = &config.handlers["h"].limits;
    assert_eq!((limits.memory, limits.http.requests, limits.depth), (32 << 20, 2, 3));
    let both = [
        "jobcell.toml:6: handlers.h.limits.cpu = \"1h\": is above the ceiling cells.ceilings.cpu = \"60s\"",
        "at environment variable JOBCELL_CELLS__CEILINGS__CPU",
    ];
    one_fault(&toml, &[("JOBCELL_CELLS__CEILINGS__CPU", "60s")], &both);
    let toml = format!("{HANDLER}limits.memory = \"64MiB\"\n[cells.ceilings]\nmemory = \"32MiB\"\n");
    let both = ["jobcell.toml:3: handlers.h.limits.memory = \"64MiB\"", "= \"32MiB\" at jobcell.toml:5"];
    one_fault(&toml, &[], &both);
}

#[test]
fn list_queues_share_no_key_and_keep_what_a_list_can() {
    let redis = [("REDIS_URL", "redis://h")];
    let list =
        |name: &str, more: &str| format!("[queues.{name}]\nhandler = \"h\"\nprotocol = \"list\"\n{more}\n");
    let two = |a: &str, b: &str| format!("{HANDLER}{}{}", list("a", a), list("b", b));
    let config = sound(&two("key = \"x\"", "updates = \"job_updates\""), &redis);
    assert_eq!(config.lists.len(), 2);
    let Protocol::List(b) = &config.queues["b"].protocol else { panic!("b is a list") };
    assert_eq!((b.record.as_str(), b.own_records), ("b:{id}", Some(Duration::from_secs(86_400))));
    one_fault(&two("key = \"b\"", ""), &redis, &["queues.b.key", "queue \"a\"", "its own list"]);
    one_fault(
        &two("key = \"x\"", "key = \"x:delayed\""),
        &redis,
        &["queues.b.key", "x:delayed", "choose another"],
    );
    assert_eq!(
        sound(&two("key = \"x\"", "key = \"x:dead\""), &redis).lists.len(),
        2,
        "dead items may be worked"
    );
    let kept = |keep: &str| format!("{HANDLER}{}", list("a", &format!("keep = {{ {keep} }}")));
    one_fault(&kept("completed = \"100\""), &redis, &["queues.a.keep.completed", "cannot count", "\"7d\""]);
    one_fault(&kept("failed = \"7d\""), &redis, &["queues.a.keep.failed", "no age", "\"1000\""]);
    let config = sound(&kept("completed = \"all\", failed = \"100\""), &redis);
    let Protocol::List(a) = &config.queues["a"].protocol else { panic!("a is a list") };
    assert_eq!(a.own_records, None, "all is all");
    let cluster = [("REDIS_URL", "redis+cluster://h1,h2")];
    let braced = list("a", "key = \"{jobs}\"\nrecord = \"{jobs}:{id}\"");
    assert_eq!(sound(&format!("{HANDLER}{braced}"), &cluster).lists.len(), 1);
    one_fault(
        &format!("{HANDLER}{}", list("a", "key = \"jobs\"")),
        &cluster,
        &["queues.a.key", "braces", "{jobs}"],
    );
}

#[test]
fn a_host_that_works_some_queues_knows_the_lists_among_the_others() {
    let toml =
        format!("{HANDLER}[queues.a]\nhandler = \"h\"\n[queues.b]\nhandler = \"h\"\nprotocol = \"list\"\n");
    let mut config = sound(&toml, &[("REDIS_URL", "redis://h")]);
    config.limit_to(&["a".to_owned()]).unwrap();
    assert_eq!((config.queues.len(), config.lists.len()), (1, 1));
}

#[test]
fn paths_are_meant_from_where_they_are_written() {
    let mut request = request(HANDLER, &[("JOBCELL_EMBEDDED__PATH", "data")]);
    request.file = FileChoice::Text(PathBuf::from("/etc/jobcell/jobcell.toml"), HANDLER.to_owned());
    let config = load(&request).unwrap();
    assert_eq!(config.handlers["h"].source, HandlerSource::Path("/etc/jobcell/h.wasm".into()));
    assert_eq!(config.embedded.path, PathBuf::from("data"));
    assert_eq!(config.cells.cache, PathBuf::from("data/compiled"));
}

#[test]
fn a_named_file_must_be_there() {
    let request = Request { file: FileChoice::At("/no/such.toml".into()), ..Request::default() };
    let error = load(&request).unwrap_err().to_string();
    assert!(
        error.contains("/no/such.toml: the file cannot be read") && error.contains("create the file"),
        "{error}"
    );
    assert!(load(&Request { file: FileChoice::None, ..Request::default() }).is_ok());
}

#[test]
fn running_needs_queues_and_takes_those_named() {
    let error = sound("", &[]).limit_to(&[]).unwrap_err().to_string();
    assert!(error.contains("no queue is configured") && error.contains("[queues.emails]"), "{error}");
    let toml = format!("{HANDLER}[queues.a]\nhandler = \"h\"\n[queues.b]\nhandler = \"h\"\n");
    let mut config = sound(&toml, &[]);
    let error = config.limit_to(&["aa".to_owned(), "c".to_owned()]).unwrap_err();
    assert_eq!(error.0.len(), 2, "{error}");
    assert!(error.to_string().contains("did you mean \"a\"? Configured: a, b"), "{error}");
    config.limit_to(&["b".to_owned()]).unwrap();
    assert_eq!(config.queues.keys().collect::<Vec<_>>(), ["b"]);
}

/// Every key of the table, as the text of a file that gives it a date, which no key takes, and the path in messages.
fn dates(section: &'static Section, file: &str, path: &str, found: &mut Vec<(String, String)>) {
    for entry in section.keys {
        let below =
            |path: &str, name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        let (file, path) = (file.replace('@', &format!("{}@", entry.name)), below(path, entry.name));
        found.push((file.replace('@', " = 1979-05-27"), path.clone()));
        match entry.inner {
            Inner::Leaf | Inner::Names => {}
            Inner::Section(section) => dates(section, &file.replace('@', ".@"), &path, found),
            Inner::Named(section) => dates(section, &file.replace('@', ".x.@"), &format!("{path}.x"), found),
            Inner::Listed(section) => {
                let list = format!("{} = [{{ @ }}]", file.trim_end_matches('@'));
                dates(section, &list, &format!("{path}[0]"), found);
            }
        }
    }
}

#[test]
fn every_key_of_the_table_is_read() {
    let mut all = Vec::new();
    dates(&ROOT, "@", "", &mut all);
    assert!(all.len() >= 90, "{}", all.len());
    for (toml, path) in all {
        let faults = load_all(&request(&toml, &[])).faults;
        let fault = faults.iter().find(|fault| fault.key == path);
        let Some(fault) = fault else { panic!("{toml}: nobody read {path}: {faults:#?}") };
        assert!(fault.cause != "unknown key", "{toml}: {fault}");
    }
}

#[test]
fn every_default_of_the_table_is_taken_as_written() {
    fn check(section: &'static Section, prefix: &str) {
        for entry in section.keys {
            let path = format!("{prefix}{}", entry.name);
            match entry.inner {
                Inner::Section(section) => check(section, &format!("{path}.")),
                Inner::Named(section) => check(section, &format!("{path}.x.")),
                Inner::Leaf | Inner::Names => {
                    let Absent::Value(default) = entry.default else { continue };
                    let toml = format!("{path} = {default}");
                    let faults = load_all(&request(&toml, &[])).faults;
                    let wrong =
                        faults.iter().find(|fault| fault.key == path && !fault.cause.contains("no meaning"));
                    assert!(wrong.is_none(), "{toml}: {wrong:?}");
                }
                Inner::Listed(_) => {}
            }
        }
    }
    check(&ROOT, "");
}

#[test]
fn names_in_the_table_are_told_apart_by_variables() {
    fn check(section: &'static Section) {
        let mut names: Vec<String> = section.names().map(environment::spelled).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), section.keys.len());
        for entry in section.keys {
            assert!(!entry.about.is_empty() && !entry.name.contains("__"), "{}", entry.name);
            match entry.inner {
                Inner::Section(section) | Inner::Named(section) | Inner::Listed(section) => check(section),
                Inner::Leaf | Inner::Names => {}
            }
        }
    }
    check(&ROOT);
}

#[test]
fn compiled_handlers_are_kept_where_the_machine_keeps_caches() {
    let cache = |toml: &str, value: &str| sound(toml, &[("XDG_CACHE_HOME", value)]).cells.cache;
    assert_eq!(cache("", "/var/cache/x"), PathBuf::from("/var/cache/x/jobcell"));
    for nothing in ["", "caches"] {
        assert_eq!(cache("", nothing), PathBuf::from(".jobcell/compiled"));
    }
    assert_eq!(cache("[cells]\ncache = \"own\"\n", "/var/cache/x"), PathBuf::from("own"));
}

#[test]
fn tokens_need_no_restart_and_the_rest_of_the_server_does() {
    let token = |hash: char| {
        let sha256 = hash.to_string().repeat(64);
        format!("[[server.tokens]]\nname = \"a\"\nrole = \"viewer\"\nsha256 = \"{sha256}\"\n")
    };
    let before = sound(&token('a'), &[]);
    assert!(sound(&token('b'), &[]).needing_restart(&before).is_empty());
    let moved = format!("[server]\nlisten = \"127.0.0.1:1\"\n{}", token('a'));
    assert_eq!(sound(&moved, &[]).needing_restart(&before), ["server"]);
}
