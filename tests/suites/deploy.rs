//! Versions of a handler: deployed, gone back from, refused, and built from their sources, with the real program on both
//! stores. What the rules are is tested beside the code; here is what only a command line and a host show together.

mod developing;
mod refusing;
mod shadowing;
mod swapping;

use jobcell_tests::{Host, Site, artifacts};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// One queue, `work`, whose every job goes to the handler `basic`, whose versions are in the store.
const DEPLOYED: &str = r#"
[queues.work]
handler = "basic"
[handlers.basic]
source = "store"
"#;

/// The guest `basic` as another build of it would be: the same code under another digest.
fn build(number: u8) -> Vec<u8> {
    let mut bytes = std::fs::read(artifacts::guest("basic")).unwrap();
    // A custom section: its id, its size, its name, and what is in it.
    bytes.extend([0, 7, 5]);
    bytes.extend(*b"build");
    bytes.push(number);
    bytes
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

fn short(digest: &str) -> &str {
    &digest[7..19]
}

/// Writes a build into the site and gives its path and digest.
fn written(site: &Site, number: u8) -> (String, String) {
    let bytes = build(number);
    let file = site.write(&format!("basic-{number}.wasm"), &bytes);
    (file.display().to_string(), digest(&bytes))
}

/// Deploys a build and gives its digest.
#[track_caller]
fn deploy(site: &Site, number: u8, more: &[&str]) -> String {
    let (file, digest) = written(site, number);
    let _ = site.cli(&[&["handler", "deploy", "basic", &file], more].concat()).ok();
    digest
}

/// The handler, as `handler ls` tells of it.
#[track_caller]
fn standing(site: &Site) -> Value {
    site.cli(&["--json", "handler", "ls", "basic"]).ok().json()
}

fn answered(answer: Option<(u16, String)>) -> (u16, Value) {
    let (status, body) = answer.expect("the host answers");
    (status, serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}")))
}

/// Runs one job to its end and gives the digest of the version that ran it.
#[track_caller]
fn ran_on(host: &Host) -> String {
    let job = json!({ "name": "echo", "data": { "i": 1 } });
    let (status, added) = answered(host.request("POST", "/api/v1/queues/work/jobs?wait=60", &[], Some(&job)));
    assert_eq!((status, &added["state"]), (200, &json!("completed")), "{added}");
    let id = added["id"].as_str().unwrap();
    let (_, receipts) = answered(host.get(&format!("/api/v1/queues/work/jobs/{id}/receipt")));
    receipts["items"][0]["digest"].as_str().unwrap_or_else(|| panic!("no digest: {receipts}")).to_owned()
}
