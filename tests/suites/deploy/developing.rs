//! `jobcell dev`: sources that change become versions that run, and what does not build changes nothing.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jobcell_tests::{Host, Site, artifacts, wait};
use serde_json::json;

use super::{answered, build, ran_on};

/// A build with Cargo on a busy machine, with nothing compiled yet.
const BUILT: Duration = Duration::from_secs(600);

/// Waits for a line that `dev` says.
fn says(host: &Host, limit: Duration, part: &str) -> String {
    wait::within(limit, &format!("dev says {part:?}"), || {
        host.log().into_iter().find(|line| line.contains(part))
    })
}

#[test]
fn a_project_with_its_own_command_is_built_and_swapped() {
    let config = "[queues.work]\nhandler = \"basic\"\n[handlers.basic]\nsource = \"dist/basic.wasm\"\n\
                  [handlers.basic.build]\ncommand = \"test ! -e broken && mkdir -p ../dist && cp basic.wasm ../dist/\"\n\
                  dir = \"src\"\n";
    let site = Site::embedded(config);
    let (one, two) = (build(1), build(2));
    site.write("src/basic.wasm", &one);
    let host = Host::start_as(&site, &["dev"]);
    let first = ran_on(&host);
    says(&host, wait::SOON, &format!("version {}", &first[7..19]));

    // What does not build changes nothing.
    site.write("src/broken", "");
    says(&host, wait::SOON, "the version before keeps serving");
    assert_eq!(ran_on(&host), first);

    std::fs::remove_file(site.path().join("src/broken")).unwrap();
    site.write("src/basic.wasm", &two);
    let second = wait::until("jobs run on the second version", || {
        Some(ran_on(&host)).filter(|version| *version != first)
    });
    says(&host, wait::SOON, &format!("version {}", &second[7..19]));
    host.stop();
}

/// A Cargo package with one handler, beside the workspace whose SDK it uses.
fn greeter(site: &Site, greeting: &str) {
    let sdk = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sdk").canonicalize().unwrap();
    let manifest = format!(
        "[package]\nname = \"greeter\"\nversion = \"1.2.3\"\nedition = \"2024\"\n[lib]\ncrate-type = [\"cdylib\"]\n\
         [dependencies]\njobcell-sdk = {{ path = {sdk:?} }}\nserde_json = \"1\"\n[workspace]\n\
         [profile.guest]\ninherits = \"release\"\nopt-level = 3\nlto = \"fat\"\ncodegen-units = 1\npanic = \"abort\"\n\
         debug = false\nstrip = \"debuginfo\"\n"
    );
    site.write("greeter/Cargo.toml", manifest);
    // The versions that this workspace has: nothing is fetched, and what is compiled already is taken.
    let lock = std::fs::read(sdk.join("../Cargo.lock")).unwrap();
    site.write("greeter/Cargo.lock", lock);
    site.write("greeter/src/lib.rs", source(greeting));
}

fn source(greeting: &str) -> String {
    format!(
        "use jobcell_sdk::prelude::*;\n\n#[handler]\nfn greet(_: Job<serde_json::Value>) -> Result<String, Failure> {{\n    \
         Ok({greeting}.to_owned())\n}}\n\njobcell_sdk::plugin!(greet);\n"
    )
}

fn greeting(host: &Host) -> String {
    let job = json!({ "name": "greet" });
    let (status, ended) =
        answered(host.request("POST", "/api/v1/queues/greeter/jobs?wait=60", &[], Some(&job)));
    assert_eq!(status, 200, "{ended}");
    ended["result"].as_str().unwrap_or_else(|| panic!("{ended}")).to_owned()
}

#[test]
fn a_cargo_project_is_built_and_built_again_when_it_changes() {
    let folder = |name: &str, below: &str| {
        let home = || PathBuf::from(std::env::var_os("HOME").unwrap()).join(below);
        std::env::var_os(name).map_or_else(home, PathBuf::from).display().to_string()
    };
    let target = artifacts::target().display().to_string();
    let site = Site::embedded("")
        .env("CARGO_HOME", &folder("CARGO_HOME", ".cargo"))
        .env("RUSTUP_HOME", &folder("RUSTUP_HOME", ".rustup"))
        .env("CARGO_TARGET_DIR", &target)
        .env("CARGO_NET_OFFLINE", "true");
    greeter(&site, "\"hello\"");
    let host = Host::start_within(&site, &["dev", "greeter"], BUILT);
    assert_eq!(greeting(&host), "hello");

    site.write("greeter/src/lib.rs", source("no_such_name"));
    says(&host, BUILT, "the version before keeps serving");
    // The compiler's own words are there.
    says(&host, wait::SOON, "no_such_name");
    assert_eq!(greeting(&host), "hello");

    site.write("greeter/src/lib.rs", source("\"good day\""));
    wait::within(BUILT, "jobs run on the corrected version", || {
        (greeting(&host) == "good day").then_some(())
    });
    host.stop();
    // What it was built into says what it is.
    let built = site.path().join(".jobcell/dev/greeter.wasm").display().to_string();
    let _ = site.cli(&["handler", "inspect", &built]).ok().answers(&["manifest", "1.2.3", "rust"]);
}
