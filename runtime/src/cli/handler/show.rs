//! `jobcell handler ls|history`: what is wanted, what each host runs, and how it came to that.

use jobcell_core::shadow::{ShadowCost, ShadowExample, ShadowReport};
use serde::Deserialize;
use serde_json::Value;

use super::failed;
use super::place::Place;
use super::shown::{Host, Past, Shown, Version, short};
use crate::cli::console::{Console, counted, table, time, visible};
use crate::cli::exit::{Exit, Failure};
use crate::cli::receipt::{milliseconds, size};

/// Runs that did not agree and are listed: the newest. The others are in `--json`.
const EXAMPLES: usize = 3;

/// All handlers, one line each.
pub(super) async fn all(place: &Place, console: &mut Console<'_>) -> Result<Exit, Failure> {
    let values = place.handlers().list().await.map_err(failed)?;
    let all = values.iter().map(Shown::of).collect::<Result<Vec<_>, _>>()?;
    console.answer(&values, |_| {
        if all.is_empty() {
            return format!("no handler is deployed in {}\n", place.shown());
        }
        let titles = ["HANDLER", "ACTIVE", "CANARY", "SOURCE", ">GENERATION", ">VERSIONS", "HOSTS"];
        table(&titles, &all.iter().map(line).collect::<Vec<_>>()) + &lags(&all)
    })?;
    Ok(Exit::Done)
}

/// One handler with its versions and hosts.
pub(super) async fn one(place: &Place, handler: &str, console: &mut Console<'_>) -> Result<Exit, Failure> {
    let value = place.handlers().get(handler).await.map_err(failed)?;
    let shown = Shown::of(&value)?;
    console.answer(&value, |_| describe(&shown))?;
    Ok(Exit::Done)
}

/// What happened to a handler's versions.
pub(super) async fn history(
    place: &Place,
    handler: &str,
    before: Option<u64>,
    limit: u32,
    console: &mut Console<'_>,
) -> Result<Exit, Failure> {
    let values = place.handlers().history(handler, before, limit).await.map_err(failed)?;
    let read = |value: &Value| {
        Past::deserialize(value).map_err(|error| Failure::failed(format!("an entry cannot be read: {error}")))
    };
    let entries = values.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    console.answer(&values, |_| {
        let row = |past: &Past| {
            let Past { number, at, by, digest, from, to, why } = past;
            let step = match from.as_deref() {
                None => format!("new → {to}"),
                // Something was learnt of it that moved it nowhere.
                Some(from) if from == to => to.clone(),
                Some(from) => format!("{from} → {to}"),
            };
            let who = visible(by);
            vec![number.to_string(), time(*at), short(digest).to_owned(), visible(&step), who, visible(why)]
        };
        table(&[">NO", "WHEN", "VERSION", "WHAT", "BY", "WHY"], &entries.iter().map(row).collect::<Vec<_>>())
    })?;
    Ok(Exit::Done)
}

fn line(shown: &Shown) -> Vec<String> {
    let Shown { name, source, generation, active, canary, versions, hosts, .. } = shown;
    let digest = |digest: &Option<String>| digest.as_deref().map_or("-", short).to_owned();
    let canary = canary.as_ref().map(|canary| format!("{} {} %", short(&canary.digest), canary.percent));
    let there = hosts.iter().filter(|host| follows(shown, host)).count();
    vec![
        visible(name),
        digest(active),
        canary.unwrap_or_else(|| "-".to_owned()),
        visible(source.as_deref().unwrap_or("store")),
        generation.to_string(),
        versions.len().to_string(),
        if hosts.is_empty() { "none".to_owned() } else { format!("{there} of {}", hosts.len()) },
    ]
}

/// Whether a host runs what is wanted.
pub(super) fn follows(shown: &Shown, host: &Host) -> bool {
    let canary = shown.canary.as_ref().map(|canary| &canary.digest);
    host.lag.is_none() && host.active == shown.active && host.canary.as_ref() == canary
}

fn lags(all: &[Shown]) -> String {
    let mut text = String::new();
    for shown in all {
        for host in shown.hosts.iter().filter(|host| !follows(shown, host)) {
            let runs = host.active.as_deref().map_or("no version", short);
            let why = host.lag.as_deref().unwrap_or("it has not followed yet");
            text +=
                &format!("\n{}: {} runs {runs}: {}", visible(&shown.name), visible(&host.host), visible(why));
        }
    }
    if text.is_empty() { text } else { text + "\n" }
}

/// What a shadow came to.
fn compared(report: &ShadowReport) -> String {
    let ShadowReport { runs, agreed, disagreed, diverged, dropped, active_cost, candidate_cost, .. } = report;
    let mut text = format!(
        "compared    {runs}: {agreed} agreed, {disagreed} disagreed, {diverged} diverged; {dropped} dropped\n"
    );
    if *runs > 0 {
        let cost = |cost: &ShadowCost| {
            format!("{} cpu, {} memory", milliseconds(cost.cpu_us / runs), size(cost.memory_bytes / runs))
        };
        text += &format!("on average  {}; the active one {}\n", cost(candidate_cost), cost(active_cost));
    }
    for ShadowExample { at, queue, job, what, .. } in report.examples.iter().rev().take(EXAMPLES) {
        text += &format!("{}  {} {}: {}\n", time(*at), visible(queue), visible(job), visible(what));
    }
    text
}

fn describe(shown: &Shown) -> String {
    let Shown { name, source, generation, active, previous, canary, shadow, shadow_report, versions, hosts } =
        shown;
    let digest = |digest: &Option<String>| digest.as_deref().map_or("none", short).to_owned();
    let mut text = format!(
        "handler     {}\nsource      {}\ngeneration  {generation}\nactive      {}\nprevious    {}\n",
        visible(name),
        visible(source.as_deref().unwrap_or("store")),
        digest(active),
        digest(previous),
    );
    for (label, share) in [("canary", canary), ("shadow", shadow)] {
        if let Some(share) = share {
            text += &format!("{label:<10}  {} on {} % of the jobs\n", short(&share.digest), share.percent);
        }
    }
    if let Some(report) = shadow_report {
        text += &compared(report);
    }
    let row = |version: &Version| {
        let Version { digest, size, manifest, signed_by, state, at, by, why, .. } = version;
        vec![
            short(digest).to_owned(),
            visible(manifest.version.as_deref().unwrap_or("-")),
            visible(state),
            format!("{} KiB", size.div_ceil(1024)),
            signed_by.as_deref().map_or_else(|| "-".to_owned(), visible),
            time(*at),
            visible(by),
            visible(why),
        ]
    };
    let titles = ["VERSION", "RELEASE", "STATE", ">SIZE", "SIGNED BY", "SINCE", "BY", "WHY"];
    text += "\n";
    text += &table(&titles, &versions.iter().map(row).collect::<Vec<_>>());
    if let Some(version) = active.as_deref().and_then(|active| shown.version(active)) {
        let wants = visible(&version.wants.join(", "));
        text += &format!("\nwants       {}\n", if wants.is_empty() { "nothing" } else { &wants });
    }
    let row = |host: &Host| {
        let canary = host.canary.as_deref().map_or("-", short).to_owned();
        let standing = host.lag.as_deref().map_or_else(String::new, visible);
        vec![visible(&host.host), digest(&host.active), canary, visible(&host.state), standing]
    };
    if hosts.is_empty() {
        return text + "\nno host runs it\n";
    }
    text += &format!("\n{}\n", counted(hosts.len() as u64, "host"));
    text + &table(&["HOST", "ACTIVE", "CANARY", "STATE", ""], &hosts.iter().map(row).collect::<Vec<_>>())
}
