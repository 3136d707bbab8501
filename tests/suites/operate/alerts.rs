//! Alerts and the dashboard: they name only what is there, fire on what matters, and are explained.

use std::collections::BTreeSet;
use std::process::Command;

use jobcell_tests::Host;
use promql_parser::label::MatchOp;
use promql_parser::parser::{self, Expr, VectorSelector};
use promql_parser::util::{ExprVisitor, walk_expr};
use serde_json::Value;

use super::metrics::Page;
use super::{repository, skipped, text};
use crate::stage::{BASIC, Stage};

/// What Prometheus itself knows of each host it asks, and of alerts.
const OF_PROMETHEUS: [&str; 2] = ["up", "ALERTS"];

fn yaml(path: &str) -> Value {
    serde_yaml_ng::from_str(&text(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn alerts() -> Vec<Value> {
    let rules = yaml("deploy/prometheus/alerts.yml");
    let groups = rules["groups"].as_array().expect("groups");
    groups.iter().flat_map(|group| group["rules"].as_array().expect("rules").clone()).collect()
}

/// Every query of the dashboard, with its variables given values.
fn queries() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(&text("deploy/grafana/dashboard.json")).expect("JSON");
    let mut found = Vec::new();
    collect(&dashboard, &mut found);
    let variables = [
        ("$__rate_interval", "5m"),
        ("$__interval", "1m"),
        ("$job", "jobcell"),
        ("$queue", ".*"),
        ("$handler", ".*"),
    ];
    let given = |query: &String| {
        variables.iter().fold(query.clone(), |text, (name, value)| text.replace(name, value))
    };
    found.iter().map(given).collect()
}

fn collect(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            found.extend(members.get("expr").and_then(Value::as_str).map(str::to_owned));
            members.values().for_each(|member| collect(member, found));
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
        _ => {}
    }
}

#[derive(Default)]
struct Selectors(Vec<VectorSelector>);

impl ExprVisitor for Selectors {
    type Error = String;

    fn pre_visit(&mut self, expr: &Expr) -> Result<bool, String> {
        match expr {
            Expr::VectorSelector(selector) => self.0.push(selector.clone()),
            Expr::MatrixSelector(matrix) => self.0.push(matrix.vs.clone()),
            _ => {}
        }
        Ok(true)
    }
}

/// What a query asks for.
#[track_caller]
fn selectors(query: &str) -> Vec<VectorSelector> {
    let expr = parser::parse(query).unwrap_or_else(|error| panic!("{query}: {error}"));
    let mut selectors = Selectors::default();
    walk_expr(&mut selectors, &expr).unwrap();
    assert!(!selectors.0.is_empty(), "{query} asks for nothing");
    selectors.0
}

#[test]
fn they_name_only_metrics_and_labels_that_a_host_has() {
    let stage = Stage::redis();
    let site = stage.site(BASIC);
    let host = Host::start(&site);
    let id = site.enqueue("work", "panic", &serde_json::json!({"message": "m"}), &["--attempts", "1"]);
    jobcell_tests::wait::until("the job has failed", || {
        (site.job("work", &id)["state"] == "failed").then_some(())
    });
    let Page(metrics) = Page::parse(&host.get("/metrics").unwrap().1);
    let rules = alerts().into_iter().map(|rule| rule["expr"].as_str().expect("a query").to_owned());
    let all: Vec<String> = rules.chain(queries()).collect();
    assert!(all.len() > 50, "{}", all.len());
    for query in &all {
        for selector in selectors(query) {
            let name = selector.name.clone().unwrap_or_else(|| panic!("{query}: a selector without a name"));
            if OF_PROMETHEUS.contains(&name.as_str()) {
                continue;
            }
            let family = ["_bucket", "_count", "_sum"].into_iter().find_map(|end| {
                let family = name.strip_suffix(end)?;
                metrics.get(family).filter(|(kind, _)| kind == "histogram")
            });
            let Some((_, series)) = family.or_else(|| metrics.get(&name)) else {
                panic!("{query}: no host shows {name}")
            };
            for matcher in &selector.matchers.matchers {
                let label = matcher.name.as_str();
                // Prometheus adds these itself.
                let is_known = ["job", "instance", "le"].contains(&label)
                    || series.is_empty()
                    || series.iter().any(|labels| labels.contains_key(label));
                assert!(is_known, "{query}: {name} has no label {label}");
            }
            let bound = selector.matchers.matchers.iter().any(|m| m.name == "job" && m.op == MatchOp::Equal);
            assert!(bound, "{query}: {name} would be mixed with that of other jobs");
        }
    }
    host.stop();
}

#[test]
fn each_alert_says_what_it_means_and_has_a_case_in_which_it_fires() {
    let cases = text("deploy/prometheus/alerts_test.yml");
    let mut names = BTreeSet::new();
    for alert in alerts() {
        let name = alert["alert"].as_str().expect("a name").to_owned();
        for annotation in ["summary", "description", "runbook_url"] {
            let text = alert["annotations"][annotation].as_str().unwrap_or_default();
            assert!(!text.is_empty(), "{name} has no {annotation}");
        }
        let severity = alert["labels"]["severity"].as_str().unwrap_or_default();
        assert!(["critical", "warning"].contains(&severity), "{name}: {severity}");
        assert!(cases.contains(&format!("name: {name} fires")), "alerts_test.yml has no case for {name}");
        assert!(names.insert(name.clone()), "{name} is there twice");
    }
}

#[test]
fn prometheus_own_tool_takes_rules_and_configuration_and_sees_the_alerts_fire() {
    let tool = std::env::var_os("JOBCELL_PROMTOOL").unwrap_or_else(|| "promtool".into());
    if Command::new(&tool).arg("--version").output().is_err() {
        skipped(
            "promtool is not on this machine (Debian has it in the package prometheus): rules were only parsed",
        );
        return;
    }
    let folder = repository().join("deploy/prometheus");
    for args in [
        ["check", "config", "prometheus.yml"],
        ["check", "rules", "alerts.yml"],
        ["test", "rules", "alerts_test.yml"],
    ] {
        let output = Command::new(&tool).args(args).current_dir(&folder).output().expect("promtool runs");
        let said = [output.stdout, output.stderr]
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .join("\n");
        assert!(output.status.success(), "promtool {args:?}\n{said}");
    }
}

#[test]
fn the_dashboard_is_one_that_grafana_takes() {
    let dashboard: Value = serde_json::from_str(&text("deploy/grafana/dashboard.json")).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let ids: BTreeSet<i64> = panels.iter().map(|panel| panel["id"].as_i64().expect("an id")).collect();
    assert_eq!(ids.len(), panels.len(), "each panel has its own id");
    let mut taken: Vec<[i64; 4]> = Vec::new();
    for panel in panels {
        let title = panel["title"].as_str().expect("a title");
        let place = ["x", "y", "w", "h"].map(|key| panel["gridPos"][key].as_i64().expect("a place"));
        let [x, y, w, h] = place;
        assert!(x >= 0 && x + w <= 24 && w > 0 && h > 0, "{title}: {place:?}");
        let overlaps = |[a, b, c, d]: &[i64; 4]| x < a + c && *a < x + w && y < b + d && *b < y + h;
        assert!(!taken.iter().any(overlaps), "{title} lies over another panel");
        taken.push(place);
        if panel["type"] != "row" {
            assert!(!panel["targets"].as_array().expect("queries").is_empty(), "{title} shows nothing");
            assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
        }
    }
    let variables: Vec<&str> = dashboard["templating"]["list"]
        .as_array()
        .expect("variables")
        .iter()
        .filter_map(|v| v["name"].as_str())
        .collect();
    assert_eq!(variables, ["datasource", "job", "queue", "handler"]);
}
