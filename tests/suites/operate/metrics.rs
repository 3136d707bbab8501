//! The page that Prometheus reads, of a real host after jobs of every kind.

use std::collections::{BTreeMap, BTreeSet};

use jobcell_tests::{Answer, Host, Receiver, Site, artifacts, wait};
use rustix::process::Signal;
use serde_json::json;

use super::text;
use crate::stage::{Stage, capable};

/// Names of the public contract with their types and labels, then those that came on top.
const CONTRACT: &[(&str, &str, &[&str])] = &[
    ("jobcell_jobs_total", "counter", &["queue", "handler", "outcome"]),
    ("jobcell_job_seconds", "histogram", &["queue", "handler"]),
    ("jobcell_queue_jobs", "gauge", &["queue", "state"]),
    ("jobcell_queue_oldest_seconds", "gauge", &["queue"]),
    ("jobcell_wait_seconds", "histogram", &["queue"]),
    ("jobcell_cell_start_seconds", "histogram", &[]),
    ("jobcell_cell_cpu_seconds_total", "counter", &["handler", "version"]),
    ("jobcell_cell_memory_peak_bytes", "histogram", &["handler", "version"]),
    ("jobcell_cells_active", "gauge", &[]),
    ("jobcell_traps_total", "counter", &["handler", "reason"]),
    ("jobcell_denied_total", "counter", &["handler", "capability"]),
    ("jobcell_handler_info", "gauge", &["handler", "version", "state"]),
    ("jobcell_swaps_total", "counter", &["handler", "kind"]),
    ("jobcell_result_cache_total", "counter", &["handler", "result"]),
    ("jobcell_locks_lost_total", "counter", &[]),
    ("jobcell_stalled_total", "counter", &[]),
    ("jobcell_store_seconds", "histogram", &["command"]),
    ("jobcell_store_up", "gauge", &[]),
    ("jobcell_paused", "gauge", &["queue"]),
    ("jobcell_ends_refused_total", "counter", &["queue", "reason"]),
    ("jobcell_worker_last_poll_seconds", "gauge", &["queue"]),
    ("jobcell_store_errors_total", "counter", &["command"]),
    ("jobcell_store_warnings", "gauge", &[]),
    ("jobcell_cells_max", "gauge", &[]),
    ("jobcell_build_info", "gauge", &["version", "wasmtime"]),
    ("jobcell_spans_total", "counter", &["result"]),
    ("jobcell_memory_limit_bytes", "gauge", &[]),
    ("jobcell_hosts", "gauge", &[]),
    ("jobcell_connections", "gauge", &[]),
    ("jobcell_connections_closed_total", "counter", &["reason"]),
    ("jobcell_audit_lost_total", "counter", &[]),
    ("jobcell_spool_kept_total", "counter", &[]),
    ("jobcell_spool_forwarded_total", "counter", &[]),
    ("jobcell_spool_refused_total", "counter", &[]),
    ("jobcell_spool_full_total", "counter", &[]),
    ("jobcell_spool_jobs", "gauge", &[]),
    ("jobcell_spool_bytes", "gauge", &[]),
    ("process_cpu_seconds_total", "counter", &[]),
    ("process_start_time_seconds", "gauge", &[]),
    ("process_resident_memory_bytes", "gauge", &[]),
    ("process_open_fds", "gauge", &[]),
    ("process_max_fds", "gauge", &[]),
];
/// Those that have no series while nothing of the kind has happened, and that no test here makes happen.
const QUIET: [&str; 3] =
    ["jobcell_ends_refused_total", "jobcell_store_errors_total", "jobcell_result_cache_total"];

/// Every metric of a page: its type, and the label sets of its samples without the histograms' own.
pub(super) struct Page(pub(super) BTreeMap<String, (String, Vec<BTreeMap<String, String>>)>);

impl Page {
    pub(super) fn parse(text: &str) -> Self {
        let mut metrics: BTreeMap<String, (String, Vec<_>)> = BTreeMap::new();
        let mut family = String::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').expect("a type");
                family = name.to_owned();
                metrics.insert(family.clone(), (kind.to_owned(), Vec::new()));
            } else if !line.starts_with('#') {
                let (series, _) = line.rsplit_once(' ').expect("a value");
                let labels = series.split_once('{').map_or("", |(_, labels)| labels.trim_end_matches('}'));
                let mut labels: BTreeMap<String, String> = pairs(labels).collect();
                labels.remove("le");
                metrics.get_mut(&family).expect("a family").1.push(labels);
            }
        }
        Self(metrics)
    }
}

/// `a="b",c="d"`; no value in these tests has a comma or a quote.
fn pairs(labels: &str) -> impl Iterator<Item = (String, String)> {
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=').expect("a label");
        (name.to_owned(), value.trim_matches('"').to_owned())
    };
    labels.split(',').filter(|pair| !pair.is_empty()).map(pair).collect::<Vec<_>>().into_iter()
}

/// A host on which jobs succeeded, failed, broke, were denied things and were nobody's, and a handler was changed.
fn eventful(stage: &Stage) -> (Site, Host, Receiver) {
    let peer = Receiver::start([Answer::new(200)]);
    let config = capable(&peer.url())
        .replace("[handlers.basic]\nsource = \"${basic}\"", "[handlers.basic]\nsource = \"mine.wasm\"");
    let site = stage.site(&config).env("TEST_KEY", "a key that no handler sees");
    site.write("open.txt", "sesame");
    site.write("files/.keep", "");
    site.write("mine.wasm", std::fs::read(artifacts::guest("basic")).unwrap());
    let host = Host::start(&site);
    let add = |queue: &str, name: &str, data: serde_json::Value| {
        let body = json!({"name": name, "data": data, "opts": {"attempts": 1}});
        let answer = host.request("POST", &format!("/api/v1/queues/{queue}/jobs?wait=20"), &[], Some(&body));
        assert!(answer.as_ref().is_some_and(|(status, _)| [200, 201].contains(status)), "{name}: {answer:?}");
    };
    add("other", "noop", json!({"i": 1}));
    add("other", "panic", json!({"message": "as told"}));
    add("other", "fail", json!({"kind": "fatal", "message": "as told"}));
    add("work", "kv", json!({"bucket": "not granted", "steps": []}));
    site.write("mine.wasm", std::fs::read(artifacts::guest("settings")).unwrap());
    host.signal(Signal::HUP);
    wait::until("the change is counted", || {
        let page = host.get("/metrics")?.1;
        page.lines()
            .any(|line| line.starts_with("jobcell_swaps_total{handler=\"basic\"") && !line.ends_with(" 0"))
            .then_some(())
    });
    (site, host, peer)
}

#[test]
fn every_name_of_the_contract_is_there_with_its_type_and_labels() {
    let stage = Stage::redis();
    let (_site, host, _peer) = eventful(&stage);
    let text = host.get("/metrics").unwrap().1;
    let Page(metrics) = Page::parse(&text);
    for (name, kind, labels) in CONTRACT {
        let (found, series) =
            metrics.get(*name).unwrap_or_else(|| panic!("{name} is not on the page\n{text}"));
        assert_eq!(found, kind, "{name}");
        assert!(!series.is_empty() || QUIET.contains(name), "{name} has no series\n{text}");
        for series in series {
            let found: BTreeSet<&str> = series.keys().map(String::as_str).collect();
            assert_eq!(found, labels.iter().copied().collect(), "{name}: {series:?}");
        }
    }
    let known: BTreeSet<&str> = CONTRACT.iter().map(|(name, ..)| *name).collect();
    let unknown: Vec<_> = metrics.keys().filter(|name| !known.contains(name.as_str())).collect();
    assert!(
        unknown.is_empty(),
        "add to the contract of this test, and to docs/observability.md: {unknown:?}"
    );
    // Labels are bounded: names of the configuration, words, and versions of 12 hex digits.
    for (name, (_, series)) in &metrics {
        for (label, value) in series.iter().flatten() {
            let is_bounded = match label.as_str() {
                "queue" => ["work", "other"].contains(&value.as_str()),
                "handler" => ["basic", "capable", "-"].contains(&value.as_str()),
                "version" if name == "jobcell_build_info" => true,
                "version" => value.len() == 12 && value.bytes().all(|byte| byte.is_ascii_hexdigit()),
                "wasmtime" => true,
                _ => {
                    value.len() <= 24
                        && value.bytes().all(|byte| byte.is_ascii_lowercase() || b"-_".contains(&byte))
                }
            };
            assert!(is_bounded, "{name}: {label}={value:?}");
        }
    }
    let has = |start: &str| text.lines().any(|line| line.starts_with(start) && !line.ends_with(" 0"));
    for line in [
        r#"jobcell_jobs_total{queue="other",handler="basic",outcome="completed"}"#,
        r#"jobcell_jobs_total{queue="other",handler="basic",outcome="fatal"}"#,
        r#"jobcell_traps_total{handler="basic",reason="panic"}"#,
        r#"jobcell_denied_total{handler="capable",capability="kv"}"#,
    ] {
        assert!(has(line), "{line}\n{text}");
    }
    host.stop();
}

#[test]
fn every_metric_is_explained_in_the_document() {
    let document = text("docs/observability.md");
    for (name, kind, labels) in CONTRACT {
        let row = document.lines().find(|line| line.starts_with(&format!("| `{name}` |")));
        let row = row.unwrap_or_else(|| panic!("docs/observability.md has no row for {name}"));
        let labels = if labels.is_empty() { "–".to_owned() } else { labels.join(", ") };
        assert!(row.starts_with(&format!("| `{name}` | {kind} | {labels} |")), "{row}");
    }
}
