//! The dashboard in a real browser: every page as people see it, everything that can be done on them, on both stores.
//!
//! `tests/interop/dashboard.mjs` drives the browser; the pictures it takes stay in `target/tests/dashboard`, to be looked
//! at.

mod history;
mod versions;

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use jobcell_tests::{Host, RedisServer, Site, artifacts, wait};
use serde_json::{Value, json};

use crate::stage::{Stage, on_both_stores};
use history::Past;

/// Two queues of one guest, with the series that charts are drawn from.
const QUEUES: &str = r#"
[queues.work]
handler = "basic"
concurrency = 4
metrics-points = 1440
[queues.other]
handler = "basic"
metrics-points = 60
[handlers.basic]
source = "${basic}"
"#;
/// The longest that one scenario may take: some fifty pages on a machine that does other things as well.
const PATIENCE: Duration = Duration::from_secs(180);

/// The browser, and where its pictures go.
fn chromium() -> String {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let found = names.iter().find_map(|name| {
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
    });
    found
        .unwrap_or_else(|| {
            panic!("no browser: none of {names:?} is on the PATH; `cargo xtask test` installs one")
        })
        .display()
        .to_string()
}

fn pictures(stage: &str) -> PathBuf {
    artifacts::interop().join("../../target/tests/dashboard").join(stage)
}

/// Runs a scenario to its end and shows every fault it found.
#[track_caller]
fn drive(scenario: &str, site: &Site, stage: &str, more: &Value) {
    drive_with(scenario, site, stage, more, |_| {});
}

/// The same, with what is to be done when the scenario says a line.
#[track_caller]
fn drive_with(scenario: &str, site: &Site, stage: &str, more: &Value, mut said: impl FnMut(&str)) {
    let mut asked = json!({
        "scenario": scenario,
        "base": format!("http://127.0.0.1:{}", site.port()),
        "chromium": chromium(),
        "shots": pictures(stage),
    });
    if let (Value::Object(asked), Value::Object(more)) = (&mut asked, more) {
        asked.extend(more.clone());
    }
    let mut command = Command::new("node");
    command.arg("dashboard.mjs").arg(asked.to_string()).current_dir(artifacts::interop());
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap_or_else(|error| panic!("node: {error}"));
    let stdout = child.stdout.take().unwrap();
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        BufReader::new(stdout).lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
    });
    let mut told = Vec::new();
    let status = wait::within(PATIENCE, &format!("the browser is done with {scenario}"), || {
        for line in lines.try_iter() {
            said(&line);
            told.push(line);
        }
        child.try_wait().unwrap()
    });
    told.extend(lines.iter());
    assert!(status.success(), "{scenario}: {status}\n{}", told.join("\n"));
}

fn name(stage: &Stage) -> &'static str {
    if stage.redis.is_some() { "redis" } else { "embedded" }
}

on_both_stores! {
    fn every_page_looks_well_in_light_in_dark_and_on_a_phone(stage: &Stage) {
        let site = stage.site(QUEUES);
        let host = Host::start(&site);
        drive("pages", &site, name(stage), &json!({}));
        host.stop();
    }
    fn everything_can_be_done(stage: &Stage) {
        let site = stage.site(QUEUES);
        let mut host = Host::start(&site);
        drive("acts", &site, name(stage), &json!({}));
        // The last thing that was done.
        assert_eq!(wait::until("the host ends", || host.code()), 0);
    }
    fn versions_are_tried_agreed_to_gone_back_from_and_taken_away(stage: &Stage) {
        let site = stage.site(versions::CONFIG);
        let versions = versions::deploy(&site);
        let host = Host::start(&site);
        drive("versions", &site, name(stage), &json!({ "versions": versions }));
        host.stop();
    }
    fn charts_show_what_ends_without_being_told_to(stage: &Stage) {
        let site = stage.site(&QUEUES.replace("metrics-points = 1440\n", "").replace("metrics-points = 60\n", ""));
        let host = Host::start(&site);
        drive("charts", &site, name(stage), &json!({}));
        host.stop();
    }
    fn pages_keep_up_by_themselves(stage: &Stage) {
        let site = stage.site(QUEUES);
        let host = Host::start(&site);
        drive("live", &site, name(stage), &json!({}));
        host.stop();
    }
}

#[test]
fn an_open_page_says_that_the_store_is_away_and_when_it_is_back() {
    let mut redis = RedisServer::start();
    let site = Site::redis(&redis, QUEUES);
    let host = Host::start(&site);
    // The scenario says when it wants the server killed and when it wants it back.
    drive_with("outage", &site, "outage", &json!({}), |line| match line {
        "kill" => redis.down(),
        "start" => redis.up(),
        _ => {}
    });
    host.stop();
}

/// The picture of the README, of a host that has been up for an hour. It stays in `target/tests/dashboard/picture.png`;
/// `cargo xtask picture` takes it into `docs`.
#[test]
fn the_picture_of_the_readme() {
    let queues = ["mail", "payments", "thumbnails"].map(|name| {
        format!("[queues.{name}]\nhandler = \"{name}\"\nconcurrency = 8\nmetrics-points = 1440\n[handlers.{name}]\nsource = \"${{basic}}\"\n")
    });
    let site =
        Stage::embedded().site(&format!("[embedded]\npath = \"${{site}}/store\"\n{}", queues.concat()));
    let past = |queue, job, usual, reason| Past { queue, job, usual, reason };
    history::write(
        &site.path().join("store"),
        &[
            past("mail", "welcome", 14, "the mail server answered 550: no such user here"),
            past("payments", "capture", 9, "the bank answered 503: try again after 22:00"),
            past("thumbnails", "resize", 21, "the photograph ends after 40 960 of 393 115 bytes"),
        ],
    );
    let host = Host::start(&site);
    let picture = pictures("").join("picture.png");
    drive("picture", &site, "", &json!({"picture": picture}));
    assert!(std::fs::metadata(&picture).unwrap().len() < 200 << 10, "it is part of the repository");
    // Its jobs sleep on: nothing is lost with them.
    host.kill();
}

#[test]
fn without_a_script_everything_is_there() {
    let stage = Stage::embedded();
    let site = stage.site(QUEUES);
    let host = Host::start(&site);
    drive("bare", &site, "bare", &json!({}));
    host.stop();
}

#[test]
fn everything_is_reached_by_the_keyboard() {
    let stage = Stage::embedded();
    let site = stage.site(QUEUES);
    let host = Host::start(&site);
    drive("keyboard", &site, "keyboard", &json!({}));
    host.stop();
}

#[test]
fn people_sign_in_and_out_below_a_prefix() {
    // The sha256 of "abc" and of the empty text's neighbour "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
    // as FIPS 180-4 gives them.
    let [viewer, admin] = [
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
    ];
    let site = Site::raw("");
    site.write_config(&format!(
        "[server]\nlisten = \"127.0.0.1:{}\"\npath-prefix = \"/tools/jobs\"\ntokens = [\n  \
         {{ name = \"look\", role = \"viewer\", sha256 = \"{viewer}\" }},\n  \
         {{ name = \"ops\", role = \"admin\", sha256 = \"{admin}\" }},\n]\n{QUEUES}",
        site.port()
    ));
    let host = Host::start(&site);
    let base = format!("http://127.0.0.1:{}/tools/jobs", site.port());
    let admin = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
    drive("login", &site, "login", &json!({"base": base, "token": "abc", "admin": admin}));
    // What a person signed in with is nowhere in the log.
    assert!(host.log().iter().any(|line| line.contains("sign in")), "signing in is recorded");
    assert!(!host.log().iter().any(|line| line.contains(admin)));
    host.stop();
}
