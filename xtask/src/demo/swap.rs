//! A handler changes while its queue is full: a new version is deployed in the middle, and taken back.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::host::Host;
use super::site::Site;
use crate::workspace::Workspace;

/// The queue and its handler.
const NAME: &str = "thanks";
/// The two releases of the same handler.
const RELEASES: [&str; 2] = ["1.0.0", "1.1.0"];
/// Jobs that are added at once, and the pause before the next ones: the queue is never empty meanwhile.
const BATCH: usize = 20;
const PAUSE: Duration = Duration::from_millis(50);
/// More would only make the demo longer, however slow the machine is.
const JOBS_MAX: usize = 2000;
const ENDED: Duration = Duration::from_secs(60);

/// Makes two versions of the handler and deploys the first, so that hosts have one when they start.
pub(super) fn prepare(workspace: &Workspace, site: &Site) -> anyhow::Result<()> {
    let component = workspace.guest("notification");
    let component = fs::read(&component).with_context(|| format!("reading {}", component.display()))?;
    for release in RELEASES {
        let manifest = json!({ "name": "notification", "version": release }).to_string();
        let path = version(site, release);
        fs::write(&path, with_section(&component, "jobcell:manifest", manifest.as_bytes()))
            .with_context(|| format!("writing {}", path.display()))?;
    }
    run(site, &["deploy", NAME, &version(site, RELEASES[0]).display().to_string(), "--approve", "--no-wait"])
}

/// Fills the queue, deploys the second version meanwhile, and goes back. What is not as expected comes back.
pub(super) fn tell(host: &mut Host<'_>, site: &Site) -> anyhow::Result<Vec<String>> {
    println!("\n4  A new version of the thank-you handler arrives while its queue is full.");
    host.keep_running()?;
    let mut ids = add(site, BATCH)?;
    wait_for(site, &ids[..1])?;
    let (file, why) = (version(site, RELEASES[1]).display().to_string(), "friendlier words");
    let started = Instant::now();
    let mut deploy = spawn(site, &["deploy", NAME, &file, "--why", why])?;
    while deploy.try_wait().context("asking for the deploy's status")?.is_none() && ids.len() < JOBS_MAX {
        ids.extend(add(site, BATCH)?);
        thread::sleep(PAUSE);
    }
    if !deploy.wait().context("waiting for the deploy")?.success() {
        bail!("`jobcell handler deploy` failed; the host's log says why");
    }
    let took = started.elapsed().as_secs_f32();
    ids.extend(add(site, BATCH)?);
    let versions = wait_for(site, &ids)?;
    let mut told = Vec::new();
    for (digest, jobs) in &versions {
        told.push(format!("{jobs} ran on {}", digest.get(7..19).unwrap_or(digest)));
    }
    println!("   ✔ release {}: deployed in {took:.1} s with {} jobs on their way", RELEASES[1], ids.len());
    println!("     {}; none failed, none ran on both", told.join(", "));
    let mut unexpected = Vec::new();
    if versions.len() != 2 {
        unexpected.push(format!("expected that jobs ran on two versions; they ran on {versions:?}"));
    }

    let started = Instant::now();
    run(site, &["rollback", NAME, "--why", "the demo is over"])?;
    let took = started.elapsed().as_secs_f32();
    let after = wait_for(site, &add(site, 1)?)?;
    let runs = after.keys().next().cloned().unwrap_or_default();
    println!("   ✔ rolled back in {took:.1} s: the next one ran on {}", runs.get(7..19).unwrap_or(&runs));
    let latest = versions.keys().find(|digest| **digest != runs);
    if latest.is_none() || !versions.contains_key(&runs) {
        unexpected.push(format!("expected that the first version runs again; it is {runs}, of {versions:?}"));
    }
    Ok(unexpected)
}

fn version(site: &Site, release: &str) -> PathBuf {
    site.folder().join(format!("{NAME}-{release}.wasm"))
}

/// The component with a custom section behind it.
fn with_section(component: &[u8], name: &str, content: &[u8]) -> Vec<u8> {
    let mut section = leb128(name.len());
    section.extend_from_slice(name.as_bytes());
    section.extend_from_slice(content);
    let mut whole = component.to_vec();
    whole.push(0);
    whole.extend(leb128(section.len()));
    whole.extend(section);
    whole
}

fn leb128(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        // The low seven bits; the eighth says that more follow.
        let byte = (number & 0x7f) as u8;
        number >>= 7;
        bytes.push(if number == 0 { byte } else { byte | 0x80 });
        if number == 0 {
            return bytes;
        }
    }
}

fn spawn(site: &Site, args: &[&str]) -> anyhow::Result<Child> {
    let mut command = site.command()?;
    command.arg("handler").args(args).stdout(std::process::Stdio::null());
    command.spawn().context("running the host's program")
}

fn run(site: &Site, args: &[&str]) -> anyhow::Result<()> {
    let status = spawn(site, args)?.wait().context("waiting for the host's program")?;
    if !status.success() {
        bail!("`jobcell handler {}` failed ({status}); {} says why", args[0], site.log().display());
    }
    Ok(())
}

/// Adds so many jobs and gives their ids.
fn add(site: &Site, count: usize) -> anyhow::Result<Vec<String>> {
    let job = |number| {
        json!({ "name": "notify", "data": {
            "channel": { "overlay": { "channel": NAME, "tenant": "demo" } },
            "template": { "text": "Thank you, {{name}}!" },
            "data": { "name": format!("donor {number}") },
        }})
    };
    let jobs: Vec<Value> = (1..=count).map(job).collect();
    let added = ask(site, "POST", &format!("/api/v1/queues/{NAME}/jobs"), Some(&jobs.into()))?;
    let ids = added.as_array().into_iter().flatten().filter_map(|added| added["id"].as_str());
    let ids: Vec<String> = ids.map(str::to_owned).collect();
    if ids.len() == count { Ok(ids) } else { bail!("{count} jobs were sent, and the answer is {added}") }
}

/// Waits until these have completed, and counts them by the version that ran them.
fn wait_for(site: &Site, ids: &[String]) -> anyhow::Result<BTreeMap<String, usize>> {
    let end = Instant::now() + ENDED;
    let mut versions = BTreeMap::new();
    for id in ids {
        let place = format!("/api/v1/queues/{NAME}/jobs/{id}");
        let mut job = ask(site, "GET", &place, None)?;
        while job["state"] != "completed" {
            if job["state"] == "failed" || Instant::now() > end {
                bail!("job {id} of {NAME} did not complete within {ENDED:?}: {job}");
            }
            thread::sleep(PAUSE);
            job = ask(site, "GET", &place, None)?;
        }
        let receipts = ask(site, "GET", &format!("{place}/receipt"), None)?;
        let digest = match receipts["items"].as_array().map(Vec::as_slice) {
            Some([only]) => only["digest"].as_str().unwrap_or("no version").to_owned(),
            _ => bail!("job {id} of {NAME} was to run once: {receipts}"),
        };
        *versions.entry(digest).or_insert(0) += 1;
    }
    Ok(versions)
}

/// One request to the host's API.
fn ask(site: &Site, method: &str, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
    let mut stream = TcpStream::connect(("127.0.0.1", site.port())).context("reaching the host")?;
    stream.set_read_timeout(Some(ENDED)).context("bounding the wait for the host")?;
    let body = body.map(Value::to_string).unwrap_or_default();
    // 1.0: the answer comes in one piece and ends with the connection.
    let head = format!(
        "{method} {path} HTTP/1.0\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream
        .write_all(head.as_bytes())
        .and_then(|()| stream.write_all(body.as_bytes()))
        .context("asking the host")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).context("reading the host's answer")?;
    let (head, body) = answer.split_once("\r\n\r\n").context("the host's answer is cut off")?;
    if !head.starts_with("HTTP/1.0 2") && !head.starts_with("HTTP/1.1 2") {
        bail!("{method} {path} was answered with {body}");
    }
    serde_json::from_str(body).with_context(|| format!("no JSON: {body}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_has_its_size_before_it() {
        assert_eq!(with_section(b"\0asm", "n", b"abc"), b"\0asm\x00\x05\x01nabc");
        assert_eq!(leb128(300), [0xac, 0x02]);
    }
}
