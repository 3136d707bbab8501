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
    let elsewhere = match place.elsewhere() {
        [] => String::new(),
        [first, ..] => format!(
            "not in the store, but with the hosts that run them: {}; `jobcell handler ls {first}` asks this machine's \
             host, --url another\n",
            place.elsewhere().join(", ")
        ),
    };
    console.answer(&values, |_| {
        if all.is_empty() {
            return format!("no handler is deployed in {}\n{elsewhere}", place.shown());
        }
        let titles = ["HANDLER", "ACTIVE", "CANARY", "SOURCE", ">GENERATION", ">VERSIONS", "HOSTS"];
        table(&titles, &all.iter().map(line).collect::<Vec<_>>()) + &lags(&all) + &elsewhere
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
            text += &format!(
                "\n{}: {} runs {runs}:\n{}",
                visible(&shown.name),
                visible(&host.host),
                wrapped(why)
            );
        }
    }
    text
}

/// Columns that a reason is wrapped at, but for words that are longer.
const WIDTH: usize = 110;

/// A reason as it is, in lines of its own that no terminal breaks: each ends with a line break.
pub(super) fn wrapped(why: &str) -> String {
    let mut text = String::new();
    for line in visible(why).lines() {
        let mut column = 0;
        for word in line.split(' ') {
            let width = word.chars().count();
            if column > 0 && column + 1 + width > WIDTH {
                text.push('\n');
                column = 0;
            }
            text += if column == 0 { "    " } else { " " };
            text += word;
            column += 1 + width;
        }
        text.push('\n');
    }
    text
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
        let Version { digest, size, manifest, state, at, by, why, .. } = version;
        vec![
            short(digest).to_owned(),
            visible(manifest.version.as_deref().unwrap_or("-")),
            visible(state),
            format!("{} KiB", size.div_ceil(1024)),
            signed(version),
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
        let code = if host.baseline { ", on baseline code" } else { "" };
        vec![visible(&host.host), digest(&host.active), canary, visible(&host.state) + code]
    };
    if hosts.is_empty() {
        return text + "\nno host runs it\n";
    }
    text += &format!("\n{}\n", counted(hosts.len() as u64, "host"));
    text += &table(&["HOST", "ACTIVE", "CANARY", "STATE"], &hosts.iter().map(row).collect::<Vec<_>>());
    for host in hosts {
        if let Some(why) = &host.lag {
            text += &format!("\n{} is {}:\n{}", visible(&host.host), visible(&host.state), wrapped(why));
        }
    }
    text
}

/// Whose signature the version bears.
fn signed(version: &Version) -> String {
    match (&version.signed_by, &version.unchecked_key) {
        (Some(key), _) => visible(key),
        (None, Some(key)) => format!("{} (not checked)", visible(key)),
        (None, None) => "-".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_shown_whole_in_lines() {
        let why = format!("it imports {}\n[handlers.media.grants]\ncache = true", "word ".repeat(60));
        let text = wrapped(&why);
        assert!(text.lines().all(|line| line.starts_with("    ") && line.len() <= WIDTH + 4), "{text}");
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(words(&text), words(&why));
        assert!(text.ends_with("    [handlers.media.grants]\n    cache = true\n"), "{text}");
    }

    #[test]
    fn a_key_that_nobody_checked_is_shown_as_that() {
        let of = |signed_by: Option<&str>| {
            let (signed_by, unchecked_key) = (signed_by.map(str::to_owned), Some("ab".to_owned()));
            signed(&Version { signed_by, unchecked_key, ..Version::default() })
        };
        assert_eq!((&*of(None), &*of(Some("cd"))), ("ab (not checked)", "cd"));
        assert_eq!(signed(&Version::default()), "-");
    }
}
