//! The API against its own document: requests made from it by schemathesis find no server error and no answer that the
//! document does not describe.

use std::process::Command;

use jobcell_tests::{Host, artifacts};
use serde_json::json;

use crate::stage::{BASIC, Stage};

/// What stays out: streams do not end, what stops or reads anew would end the test, and components are no JSON.
const LEFT_OUT: &str = "/(events|ws|hosts/.*/stop|hosts/.*/quiet|reload|versions)$";

/// What every answer is held against.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
                      response_schema_conformance,response_headers_conformance";

#[test]
fn no_request_that_the_document_allows_breaks_the_host_or_the_document() {
    let site = Stage::embedded().site(BASIC);
    let host = Host::start(&site);
    // Something to be found, in several states.
    for n in 0..20 {
        let opts = json!({"jobId": format!("job-{n}"), "delay": if n % 2 == 0 { 0 } else { 3_600_000 }});
        let (status, body) = host
            .request(
                "POST",
                "/api/v1/queues/work/jobs",
                &[],
                Some(&json!({"name": "noop", "data": {"i": n}, "opts": opts})),
            )
            .unwrap();
        assert_eq!(status, 201, "{body}");
    }
    // Nobody works the queues that are made up: waiting for an end would take as long as is asked for.
    site.write("schemathesis.toml", "[parameters]\n\"query.wait\" = 1\n");
    let base = format!("http://127.0.0.1:{}", site.port());
    let report = site.path().join("schemathesis.txt");
    let output = Command::new(artifacts::python())
        .args(["-m", "schemathesis.cli", "run", &format!("{base}/api/v1/openapi.json")])
        .args([
            "--url",
            &base,
            "--seed",
            "20261120",
            "--max-examples",
            "20",
            "--phases",
            "examples,coverage,fuzzing",
        ])
        .args(["--checks", CHECKS])
        .args(["--exclude-path-regex", LEFT_OUT, "--request-timeout", "10", "--workers", "1"])
        .args(["--suppress-health-check", "all", "--no-color"])
        .env("PYTHONUNBUFFERED", "1")
        .current_dir(site.path())
        .output()
        .expect("the Python of the tests starts");
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    std::fs::write(&report, &said).unwrap();
    assert!(output.status.success(), "{}", tail(&said));
    assert_eq!(host.get("/livez").unwrap().0, 200);
}

/// The last lines: the failures stand at the end.
fn tail(said: &str) -> String {
    let lines: Vec<&str> = said.lines().collect();
    lines[lines.len().saturating_sub(200)..].join("\n")
}
