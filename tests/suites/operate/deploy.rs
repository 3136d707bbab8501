//! The files in `deploy` and at the top: they parse, fit together, and hold a configuration that the host takes.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use jobcell_tests::Site;
use serde_json::{Value, json};

use super::{repository, skipped, text};

fn yaml(path: &str) -> Value {
    let mut value: serde_yaml_ng::Value =
        serde_yaml_ng::from_str(&text(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    value.apply_merge().unwrap_or_else(|error| panic!("{path}: {error}"));
    serde_json::to_value(value).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every Kubernetes object, by its kind.
fn objects() -> BTreeMap<String, Value> {
    let kustomization = yaml("deploy/kubernetes/kustomization.yaml");
    let names = kustomization["resources"].as_array().expect("resources").clone();
    let object = |name: &Value| {
        let object = yaml(&format!("deploy/kubernetes/{}", name.as_str().expect("a file")));
        (object["kind"].as_str().expect("a kind").to_owned(), object)
    };
    names.iter().map(object).collect()
}

/// A duration such as `25s`, in seconds.
fn seconds(text: &Value) -> u64 {
    let text = text.as_str().expect("a duration");
    text.strip_suffix('s').and_then(|seconds| seconds.parse().ok()).unwrap_or_else(|| panic!("{text}"))
}

fn toml_grace(config: &str) -> u64 {
    let line = config.lines().find_map(|line| line.trim().strip_prefix("grace = ")).expect("a grace");
    seconds(&json!(line.trim_matches('"')))
}

/// Runs `jobcell check` on a configuration that lives in the image.
fn check(config: &str, environment: &[(&str, &str)]) {
    let mut config = config.replace("/var/lib/jobcell/uploads", "${site}/uploads");
    for name in ["media", "payment", "notification"] {
        config = config.replace(&format!("/usr/share/jobcell/handlers/{name}.wasm"), &format!("${{{name}}}"));
    }
    let mut site = Site::raw(&config);
    for (name, value) in environment {
        site = site.env(name, value);
    }
    // The image brings the folder.
    std::fs::create_dir(site.path().join("uploads")).unwrap();
    let _ = site.cli(&["check"]).ok();
}

#[test]
fn the_compose_file_has_two_hosts_that_are_stopped_gently_and_a_config_that_passes_the_check() {
    let compose = yaml("docker-compose.yml");
    let services = compose["services"].as_object().expect("services");
    let hosts: Vec<&Value> =
        services.iter().filter(|(name, _)| name.starts_with("host-")).map(|(_, host)| host).collect();
    assert_eq!(hosts.len(), 2);
    let config = compose["configs"]["jobcell"]["content"].as_str().expect("a config");
    let volumes: BTreeSet<&String> = compose["volumes"].as_object().expect("volumes").keys().collect();
    let mut ports = BTreeSet::new();
    for (name, service) in services {
        for volume in service["volumes"].as_array().into_iter().flatten() {
            let source = volume.as_str().and_then(|volume| volume.split(':').next()).expect("a source");
            let exists = match source.strip_prefix("./") {
                Some(path) => repository().join(path).exists(),
                None => volumes.contains(&source.to_owned()),
            };
            assert!(exists, "{name}: {source} is not there");
        }
        for port in service["ports"].as_array().into_iter().flatten() {
            let port = port.as_str().expect("a port");
            assert!(port.starts_with("127.0.0.1:"), "{name}: {port} is open to the network");
            assert!(ports.insert(port.split(':').nth(1).map(str::to_owned)), "{name}: {port} is taken");
        }
        let needs: Vec<String> = match &service["depends_on"] {
            Value::Object(needs) => needs.keys().cloned().collect(),
            Value::Array(needs) => needs.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            _ => Vec::new(),
        };
        assert!(needs.iter().all(|need| services.contains_key(need)), "{name}: {needs:?}");
    }
    for host in hosts {
        assert!(seconds(&host["stop_grace_period"]) > toml_grace(config) + 5);
        assert_eq!((&host["read_only"], &host["cap_drop"]), (&json!(true), &json!(["ALL"])));
    }
    // What the environment of the hosts says is a part of the configuration.
    let environment = services["host-1"]["environment"].as_object().expect("an environment");
    let given: Vec<(String, String)> = environment
        .iter()
        .filter(|(name, _)| !["REDIS_URL", "JOBCELL_SERVER__LISTEN"].contains(&name.as_str()))
        .map(|(name, value)| (name.clone(), interpolated(value.as_str().expect("text"))))
        .collect();
    let given: Vec<(&str, &str)> =
        given.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    check(config, &given);
    assert_eq!(environment["JOBCELL_SERVER__LISTEN"], "0.0.0.0:8787");
}

/// `${NAME:-default}` as where nothing is set.
fn interpolated(text: &str) -> String {
    let Some((before, rest)) = text.split_once("${") else { return text.to_owned() };
    let (variable, after) = rest.split_once('}').expect("a closed variable");
    let default = variable.split_once(":-").map_or("", |(_, default)| default);
    format!("{before}{default}{}", interpolated(after))
}

#[test]
fn docker_compose_takes_the_file() {
    let Ok(output) =
        Command::new("docker").args(["compose", "config", "--quiet"]).current_dir(repository()).output()
    else {
        skipped("docker is not on this machine; its file is only checked by its structure");
        return;
    };
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if said.contains("unknown command")
        || said.contains("is not a docker command")
        || said.contains("unknown flag")
    {
        skipped("docker has no compose plugin on this machine; its file is only checked by its structure");
        return;
    }
    assert!(output.status.success(), "{said}");
}

#[test]
fn kubernetes_objects_fit_together() {
    let objects = objects();
    for kind in ["ConfigMap", "Deployment", "Service", "PodDisruptionBudget", "NetworkPolicy", "ScaledObject"]
    {
        let object = objects.get(kind).unwrap_or_else(|| panic!("no {kind}"));
        assert_eq!(object["metadata"]["name"], "jobcell", "{kind}");
    }
    let spec = &objects["Deployment"]["spec"];
    let labels = &spec["template"]["metadata"]["labels"];
    for selector in [
        &spec["selector"]["matchLabels"],
        &objects["Service"]["spec"]["selector"],
        &objects["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        &objects["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
    ] {
        let all = selector.as_object().expect("labels").iter().all(|(name, value)| &labels[name] == value);
        assert!(all, "{selector} selects no pod of {labels}");
    }
    let pod = &spec["template"]["spec"];
    let container = &pod["containers"][0];
    let config = objects["ConfigMap"]["data"]["jobcell.toml"].as_str().expect("a config");
    // Quiet, the grace, and giving back fit before the kernel ends the host.
    let grace = pod["terminationGracePeriodSeconds"].as_u64().expect("a grace");
    assert!(grace >= toml_grace(config) + 5 + 10, "{grace}");
    let stop = container["lifecycle"]["preStop"]["exec"]["command"].to_string();
    assert!(stop.contains("kill -TSTP 1"), "{stop}");
    let port = &container["ports"][0];
    assert_eq!(port["containerPort"], 8787);
    for (probe, path) in
        [("startupProbe", "/readyz"), ("livenessProbe", "/livez"), ("readinessProbe", "/readyz")]
    {
        assert_eq!(
            (&container[probe]["httpGet"]["path"], &container[probe]["httpGet"]["port"]),
            (&json!(path), &port["name"])
        );
    }
    let names = |list: &Value| -> BTreeSet<String> {
        list.as_array()
            .expect("a list")
            .iter()
            .filter_map(|item| item["name"].as_str())
            .map(str::to_owned)
            .collect()
    };
    assert_eq!(names(&container["volumeMounts"]), names(&pod["volumes"]));
    assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(objects["Service"]["spec"]["ports"][0]["targetPort"], port["name"]);
    // KEDA reads what /scale answers, of queues that are configured.
    let scaled = &objects["ScaledObject"]["spec"];
    assert_eq!(scaled["scaleTargetRef"]["name"], objects["Deployment"]["metadata"]["name"]);
    assert!(scaled["minReplicaCount"].as_u64() >= Some(1), "delayed jobs become due only while a host runs");
    for trigger in scaled["triggers"].as_array().expect("triggers") {
        assert_eq!(trigger["type"], "metrics-api");
        assert_eq!(trigger["metadata"]["url"], "http://jobcell:8787/scale");
        let place: Vec<&str> =
            trigger["metadata"]["valueLocation"].as_str().expect("a place").split('.').collect();
        let ["queues", queue, field] = place[..] else { panic!("{place:?}") };
        assert!(config.contains(&format!("[queues.{queue}]")), "{queue}");
        let fields = ["waiting", "prioritized", "delayed_due", "active", "oldest_age_seconds"];
        assert!(fields.contains(&field), "{field}");
        assert!(
            trigger["metadata"]["targetValue"].as_str().is_some_and(|value| value.parse::<f64>().is_ok())
        );
    }
    check(config, &[("STRIPE_WEBHOOK_SECRET", "x"), ("JOBCELL_SERVER__TOKENS", TOKENS)]);
}

const TOKENS: &str = "[{ name = \"t\", role = \"admin\", \
                      sha256 = \"0000000000000000000000000000000000000000000000000000000000000000\" }]";

#[test]
fn the_systemd_unit_stops_later_than_the_host_and_passes_the_check() {
    let unit = text("deploy/systemd/jobcell.service");
    let value = |key: &str| {
        let line = unit
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{key}=")))
            .unwrap_or_else(|| panic!("no {key}"));
        line.to_owned()
    };
    assert_eq!((value("Type").as_str(), value("NotifyAccess").as_str()), ("notify", "main"));
    assert!(value("WatchdogSec").parse::<u64>().unwrap() >= 10);
    assert!(value("TimeoutStopSec").parse::<u64>().unwrap() > 25 + 10, "above the default of shutdown.grace");
    assert_eq!(value("RestartPreventExitStatus"), "2 78");
    let Ok(output) = Command::new("systemd-analyze")
        .arg("verify")
        .arg(repository().join("deploy/systemd/jobcell.service"))
        .output()
    else {
        skipped("systemd-analyze is not on this machine; the unit is only checked by its structure");
        return;
    };
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let faults: Vec<&str> = said
        .lines()
        // The program is not installed where it is built.
        .filter(|line| line.contains("jobcell.service") && !line.contains("is not executable"))
        .collect();
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn the_image_runs_without_root_and_with_nothing_but_what_a_host_needs() {
    let dockerfile = text("Dockerfile");
    let stages: Vec<&str> = dockerfile.lines().filter(|line| line.starts_with("FROM ")).collect();
    assert_eq!(stages.len(), 2, "{stages:?}");
    let (_, last) = dockerfile.rsplit_once("\nFROM ").unwrap();
    assert!(
        last.contains("USER 10001:10001")
            && last.contains("HEALTHCHECK")
            && last.contains("ENTRYPOINT [\"jobcell\"]")
    );
    assert!(!last.contains("cargo") && !last.contains("COPY . "), "the last stage takes only what was built");
}
