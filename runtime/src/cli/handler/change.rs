//! `jobcell handler deploy|activate|canary|promote|rollback|quarantine|release|shadow`: changing what is wanted, and
//! waiting until every host has followed and its code is what it is to stay: what runs on baseline code may be refused yet,
//! and whoever deploys wants to know.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use jobcell_handlers::trust::Trust;
use jobcell_handlers::{Digest, Manifest, manifest};
use jobcell_server::{Author, CanaryLimits, Change, Deployment, HandlersError, HandlersFault, Then};
use jobcell_wasm::screen;
use serde_json::Value;

use super::doubts::doubts;
use super::goal::Goal;
use super::place::Place;
use super::shown::{Host, Share, Shown, Version, short};
use super::{failed, keys, read_component, show};
use crate::cli::args::{CanaryArgs, ChangeArgs, DeployArgs};
use crate::cli::author::who;
use crate::cli::console::{Console, visible};
use crate::cli::exit::{Exit, Failure};
use crate::config::{Config, Environment};

/// A canary's share when nobody says another: enough to see a fault, and few jobs to repeat when there is one.
const PERCENT: u8 = 5;
/// Between two looks at the hosts.
const LOOK: Duration = Duration::from_millis(50);
/// What a host is that does not follow.
const LAGGING: &str = "lagging";
/// How long hosts may take to say that they are there again after the store was away: longer than from one beat to the next.
const RETURN: Duration = Duration::from_secs(3);
/// How long a host may refuse what is wanted before it is no longer waited for: one could change its mind, or be told
/// something else. One that only lags may be dead, and nobody waits for it once that is known.
const LAG_PATIENCE: Duration = Duration::from_secs(8);

/// Takes in a version and gives it the jobs.
pub(super) async fn deploy(
    place: &Place,
    args: &DeployArgs,
    config: &Config,
    environment: &Environment,
    console: &mut Console<'_>,
) -> Result<Exit, Failure> {
    let DeployArgs { handler, file, signature, stage, canary, approve, change } = args;
    let bytes = read_component(file)?;
    let seen = look(place, handler).await?;
    let signature = match signature {
        Some(path) => Some(keys::read_signature(path)?),
        None => keys::signature_beside(file)?,
    };
    // What is refused here costs no upload; where it goes it is looked at again.
    let refused =
        |error: &dyn std::fmt::Display| Failure::new(Exit::Refused, format!("{}: {error}", file.display()));
    screen(&bytes).map_err(|error| refused(&error))?;
    let read = Manifest::read(&bytes).map_err(|error| refused(&error))?;
    let digest = Digest::of(&bytes);
    if matches!(place, Place::Store { .. }) {
        let section = manifest::section(&bytes).map_err(|error| refused(&error))?.unwrap_or_default();
        let trust = Trust::new(config.trust.require_signature, keys::public_keys(&config.trust.keys)?);
        trust.verify(handler, &digest, section, signature.as_ref()).map_err(|error| refused(&error))?;
    }
    tell_version(file, &digest, read.as_ref(), bytes.len(), console);
    for doubt in read.iter().flat_map(|manifest| doubts(handler, manifest, seen.active_name(), config)) {
        console.note(&format!("warning: {doubt}"));
    }
    let signature = signature.map(|signature| signature.to_string());
    let then = match (stage, canary) {
        (true, _) => Then::Stage,
        (false, Some(percent)) => Then::Canary { percent: *percent },
        (false, None) => Then::Activate,
    };
    let started = Instant::now();
    let deployment = Deployment { wasm: Bytes::from(bytes), signature, then, approve: *approve };
    let answer = place.handlers().deploy(handler, deployment, author(change, &seen, environment)).await;
    let answer = answer.map_err(|error| approval(error, handler, &digest.short(), *canary))?;
    let shown = Shown::of(&answer)?;
    tell_ended(&seen, &shown, console);
    let is_known = matches!(place, Place::Host(_)) || config.handlers.contains_key(handler);
    if shown.hosts.is_empty() && !is_known {
        console.note(&format!(
            "warning: no host of the fleet has a handler of this name, {handler:?}; until one is configured with it, no \
             job runs on this"
        ));
    }
    tell_approved(&seen, &shown, shown.version(&digest.to_string()), console);
    if *stage {
        let wider = shown.wider(&digest.to_string());
        if !wider.is_empty() && !console.json {
            console.note(&format!(
                "beyond the active version it wants {}; activating needs --approve",
                list(&wider)
            ));
        }
        console.answer(&answer, |_| {
            format!(
                "{handler}: {} is staged; `jobcell handler activate {handler} {}` gives it the jobs\n",
                digest.short(),
                digest.short()
            )
        })?;
        return Ok(Exit::Done);
    }
    let goal = match canary {
        Some(_) => Goal::Canary(digest.to_string()),
        None => Goal::Active(digest.to_string()),
    };
    settle(place, handler, answer, &goal, change, started, console).await
}

/// Does one thing to a handler's versions.
pub(super) async fn make(
    place: &Place,
    handler: &str,
    asked: Change,
    args: &ChangeArgs,
    environment: &Environment,
    console: &mut Console<'_>,
) -> Result<Exit, Failure> {
    let seen = look(place, handler).await?;
    let started = Instant::now();
    let answer = place.handlers().change(handler, asked.clone(), author(args, &seen, environment)).await;
    let answer = answer.map_err(|error| match &asked {
        Change::Activate { version, .. } => approval(error, handler, version, None),
        Change::Canary { version, percent, .. } => approval(error, handler, version, Some(*percent)),
        _ => failed(error),
    })?;
    let shown = Shown::of(&answer)?;
    if let Change::Activate { version, .. } | Change::Canary { version, .. } = &asked {
        tell_ended(&seen, &shown, console);
        tell_approved(&seen, &shown, shown.meant(version), console);
    }
    if let Some(goal) = Goal::of(&asked, &seen, &shown) {
        return settle(place, handler, answer, &goal, args, started, console).await;
    }
    console.answer(&answer, |_| summary(&shown))?;
    Ok(Exit::Done)
}

/// A canary as it is asked for.
pub(super) fn canary(args: &CanaryArgs, config: &Config) -> Change {
    let CanaryArgs {
        place,
        percent,
        approve,
        window,
        min_jobs,
        max_failures_over,
        max_latency,
        promote_after,
        ..
    } = args;
    let millis =
        |time: &Option<Duration>| time.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    let rules = CanaryLimits {
        window_ms: millis(window),
        min_jobs: *min_jobs,
        max_failures_over: *max_failures_over,
        max_latency: *max_latency,
        promote_after_ms: millis(promote_after),
    };
    let configured = config.handlers.get(&place.handler).map(|handler| handler.canary.percent);
    let percent = percent.or(configured).unwrap_or(PERCENT);
    Change::Canary { version: place.version.clone(), percent, approve: *approve, rules }
}

/// Waits until every host runs what is wanted, telling of each as it does, and prints how it ended.
async fn settle(
    place: &Place,
    handler: &str,
    mut answer: Value,
    goal: &Goal,
    args: &ChangeArgs,
    started: Instant,
    console: &mut Console<'_>,
) -> Result<Exit, Failure> {
    let mut shown = Shown::of(&answer)?;
    let mut following = Following::default();
    // When the store was away last, and why it cannot be asked now.
    let (mut away, mut lost): (Option<Instant>, Option<HandlersError>) = (None, None);
    let exit = loop {
        let is_over = started.elapsed() > Duration::from_secs(args.wait);
        if let Some(error) = lost.take_if(|_| is_over) {
            return Err(unseen(error));
        }
        // What was seen before the store went away says nothing any more, and hosts take a moment to come back to it.
        if lost.is_none() && (is_over || away.is_none_or(|since| since.elapsed() > RETURN)) {
            if let Some(why) = goal.version().and_then(|digest| refusal(&shown, digest)) {
                return Err(Failure::new(Exit::Refused, format!("handler {handler:?}: {why}")));
            }
            if let Some(by) = goal.overtaken(&shown) {
                return Err(Failure::failed(format!(
                    "handler {handler:?}: {by}; look at it (`jobcell handler ls {handler}`), and repeat the command if \
                     it is still meant"
                )));
            }
            following.look(&shown, goal, started, console);
            if args.no_wait || following.is_done(&shown, goal) {
                break Exit::Done;
            }
            let is_refused = is_refused(&shown, goal);
            if is_refused && (is_over || following.is_stuck(&shown, goal)) {
                break Exit::Refused;
            }
            if is_over {
                break Exit::Failed;
            }
        }
        tokio::time::sleep(LOOK).await;
        match place.handlers().get(handler).await {
            Ok(found) => {
                (answer, shown, lost) = (found.clone(), Shown::of(&found)?, None);
            }
            // The change is made, and what comes of it is seen once the store is back.
            Err(error) if error.fault == HandlersFault::Unavailable => {
                if lost.is_none() {
                    let why = visible(&error.message);
                    console.note(&format!(
                        "the change is made; who follows cannot be seen now, waiting for it: {why}"
                    ));
                }
                (away, lost) = (Some(Instant::now()), Some(error));
            }
            Err(error) => return Err(unseen(error)),
        }
    };
    if shown.hosts.is_empty() && !console.json {
        console.note("no host runs this handler now; the next one that starts takes it as it is");
    }
    let is_told = !args.no_wait && !console.json;
    for host in shown.hosts.iter().filter(|host| is_told && !goal.is_settled(&shown, host)) {
        let (code, why) = match goal.is_followed(&shown, host) {
            true => (
                " on baseline code",
                "its optimised code is not there yet; where there can be none the version is refused. \
                 `jobcell handler ls NAME` and the host's log tell what becomes of it",
            ),
            false => ("", host.lag.as_deref().unwrap_or("it did not say why")),
        };
        let why = show::wrapped(why);
        console.note(&format!(
            "{} still runs {}{code}:\n{}",
            visible(&host.host),
            runs(host),
            why.trim_end()
        ));
    }
    console.answer(&answer, |_| summary(&shown))?;
    Ok(exit)
}

/// The change is made, and nobody can say what comes of it.
fn unseen(error: HandlersError) -> Failure {
    let message = format!("the change is made, and who follows cannot be seen: {}", error.message);
    failed(HandlersError { message, ..error })
}

/// The handler as it is before it is changed; one that nobody has deployed yet is one without versions.
async fn look(place: &Place, handler: &str) -> Result<Shown, Failure> {
    match place.handlers().get(handler).await {
        Ok(value) => Shown::of(&value),
        Err(error) if error.fault == HandlersFault::NotFound => Ok(Shown::default()),
        Err(error) => Err(failed(error)),
    }
}

/// Says which canary the change has ended.
fn tell_ended(seen: &Shown, since: &Shown, console: &mut Console<'_>) {
    let Some(Share { digest, percent, by }) = &seen.canary else { return };
    let goes_on = since.canary.as_ref().is_some_and(|canary| canary.digest == *digest);
    if !goes_on && since.active.as_ref() != Some(digest) {
        let by = visible(by);
        console.note(&format!("ended the canary {} of {percent} %, begun by {by}", short(digest)));
    }
}

/// Says what was agreed to by the change: what the version wants that the active one did not have.
fn tell_approved(seen: &Shown, since: &Shown, version: Option<&Version>, console: &mut Console<'_>) {
    let Some(Version { digest, approved, approved_by: Some(_), .. }) = version else { return };
    if seen.version(digest).is_some_and(|before| before.approved_by.is_some()) || console.json {
        return;
    }
    let beyond = seen.active.as_deref().map(|active| format!(" that {} does not have", short(active)));
    let lines: Vec<String> = approved.iter().map(|line| format!("  + {}", visible(line))).collect();
    console.note(&format!(
        "{}: approved what {} wants{}:\n{}",
        visible(&since.name),
        short(digest),
        beyond.unwrap_or_default(),
        lines.join("\n")
    ));
}

/// The hosts that have been told of, and those that lag with the time since.
#[derive(Default)]
struct Following {
    told: BTreeSet<String>,
    /// Those of them that were on baseline code then, and have not been told of since.
    began: BTreeSet<String>,
    lagging: BTreeMap<String, Instant>,
    /// Whether there was any.
    has_seen: bool,
}

impl Following {
    /// Tells of each host that has followed since the last look.
    fn look(&mut self, shown: &Shown, goal: &Goal, started: Instant, console: &mut Console<'_>) {
        let is_lagging = |name: &String| shown.hosts.iter().any(|it| it.host == *name && it.state == LAGGING);
        self.lagging.retain(|name, _| is_lagging(name));
        self.has_seen |= !shown.hosts.is_empty();
        for host in &shown.hosts {
            let (name, took) = (visible(&host.host), started.elapsed().as_millis());
            if goal.is_followed(shown, host) && self.told.insert(host.host.clone()) {
                let (code, more) = match host.baseline {
                    true => (" on baseline code", "; the optimised code follows"),
                    false => ("", ""),
                };
                if host.baseline {
                    self.began.insert(host.host.clone());
                }
                console.note(&format!("{name} runs {}{code} after {took} ms{more}", runs(host)));
            }
            if goal.is_settled(shown, host) && self.began.remove(&host.host) {
                console.note(&format!("{name} goes on with optimised code after {took} ms"));
            }
            if host.state == LAGGING {
                self.lagging.entry(host.host.clone()).or_insert_with(Instant::now);
            }
        }
    }

    /// Whether every host follows and has settled. Where all are gone that were there, nobody knows whether they can; where
    /// none was, the next one that starts will see.
    fn is_done(&self, shown: &Shown, goal: &Goal) -> bool {
        match shown.hosts.is_empty() {
            true => !self.has_seen,
            false => shown.hosts.iter().all(|host| goal.is_settled(shown, host)),
        }
    }

    /// Whether nobody is on the way any more: every host that has not settled has lagged for too long.
    fn is_stuck(&self, shown: &Shown, goal: &Goal) -> bool {
        let is_late =
            |host: &Host| self.lagging.get(&host.host).is_some_and(|since| since.elapsed() > LAG_PATIENCE);
        shown.hosts.iter().filter(|host| !goal.is_settled(shown, host)).all(is_late)
    }
}

/// Whether every host that has not settled says that it cannot run the version. Nobody says so where nobody is.
fn is_refused(shown: &Shown, goal: &Goal) -> bool {
    let refuses = |host: &Host| {
        goal.version().map_or(!host.refuses.is_empty(), |digest| host.refuses.iter().any(|of| of == digest))
    };
    !shown.hosts.is_empty() && shown.hosts.iter().filter(|host| !goal.is_settled(shown, host)).all(refuses)
}

/// The versions that a host gives jobs to.
fn runs(host: &Host) -> String {
    let active = host.active.as_deref().map_or("no version", short);
    match host.canary.as_deref() {
        None => active.to_owned(),
        Some(canary) => format!("{active} and {}", short(canary)),
    }
}

/// Why the version that was just deployed takes no jobs, when every host has to refuse it.
fn refusal(shown: &Shown, digest: &str) -> Option<String> {
    let version = shown.version(digest)?;
    let is_bad = version.state == "refused" || version.state == "quarantined";
    is_bad.then(|| format!("version {} is {}: {}", short(digest), version.state, visible(&version.why)))
}

/// `media: 4f1c0d9ae7b2 is active (generation 7)`.
fn summary(shown: &Shown) -> String {
    let Shown { name, generation, active, canary, shadow, .. } = shown;
    let active = active.as_deref().map_or("no version", short);
    let mut text = format!("{}: {active} is active", visible(name));
    if let Some(canary) = canary {
        text += &format!(", {} takes {} % of the jobs", short(&canary.digest), canary.percent);
    }
    if let Some(shadow) = shadow {
        text += &format!(", {} runs on copies of {} %", short(&shadow.digest), shadow.percent);
    }
    text + &format!(" (generation {generation})\n")
}

fn tell_version(
    file: &Path,
    digest: &Digest,
    manifest: Option<&Manifest>,
    size: usize,
    console: &mut Console<'_>,
) {
    let name = manifest.map_or_else(String::new, |manifest| {
        let version = manifest.version.as_deref().unwrap_or_default();
        format!(" {} {}", visible(&manifest.name), visible(version)).trim_end().to_owned() + ","
    });
    console.note(&format!(
        "{}:{name} version {}, {} KiB",
        file.display(),
        digest.short(),
        size.div_ceil(1024)
    ));
}

/// The error of a change, with what the version wants and how to agree to the same, a canary's share included.
fn approval(error: HandlersError, handler: &str, version: &str, percent: Option<u8>) -> Failure {
    let Some(wider) = error.details.get("wider").and_then(Value::as_array) else { return failed(error) };
    let lines: Vec<String> =
        wider.iter().filter_map(Value::as_str).map(|line| format!("  + {}", visible(line))).collect();
    let version = error.details.get("version").and_then(Value::as_str).map_or(version, short);
    let again = percent.map_or_else(
        || format!("handler activate {handler} {version} --approve"),
        |percent| format!("handler canary {handler} {version} --percent {percent} --approve"),
    );
    let told = format!(
        "handler {handler:?}: version {version} wants what the active one does not have:\n{}\nit is staged and takes no \
         jobs. Look at each line; to agree: jobcell {again}",
        lines.join("\n")
    );
    Failure::new(Exit::Refused, told)
}

fn list(lines: &[String]) -> String {
    if lines.is_empty() { "nothing".to_owned() } else { visible(&lines.join(", ")) }
}

/// Who this is, which over a host's API is known by the token instead, and on what they decided: what was there when the
/// command began, where nothing else is said.
fn author(args: &ChangeArgs, seen: &Shown, environment: &Environment) -> Author {
    Author {
        who: who(environment),
        why: args.why.clone().unwrap_or_default(),
        generation: args.generation.or((!args.force).then_some(seen.generation)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_host_refuses_is_told_apart_from_what_takes_long() {
        let of = |refuses: &[&str], active: &str| Host {
            active: Some(active.to_owned()),
            refuses: refuses.iter().map(|digest| (*digest).to_owned()).collect(),
            lag: Some("why".to_owned()).filter(|_| active != "new"),
            ..Host::default()
        };
        let goal = Goal::Active("new".to_owned());
        let shown = |hosts| Shown { active: Some("new".to_owned()), hosts, ..Shown::default() };
        assert!(is_refused(&shown(vec![of(&["new"], "old"), of(&[], "new")]), &goal));
        assert!(!is_refused(&shown(vec![of(&["new"], "old"), of(&[], "old")]), &goal), "one is on its way");
        assert!(!is_refused(&shown(vec![of(&["other"], "old")]), &goal));
        assert!(!is_refused(&shown(vec![]), &goal), "nobody says so");
        let begun = Host { baseline: true, ..of(&[], "new") };
        assert!(!is_refused(&shown(vec![of(&["new"], "old"), begun]), &goal), "one has yet to say");
    }

    #[test]
    fn hosts_that_are_gone_have_not_followed() {
        let of = |active: &str| Host { active: Some(active.to_owned()), ..Host::default() };
        let shown = |hosts| Shown { active: Some("new".to_owned()), hosts, ..Shown::default() };
        let (seen, goal) =
            (Following { has_seen: true, ..Following::default() }, Goal::Active("new".to_owned()));
        assert!(Following::default().is_done(&shown(vec![]), &goal), "the next one that starts will");
        assert!(!seen.is_done(&shown(vec![]), &goal));
        assert!(!seen.is_done(&shown(vec![of("new"), of("old")]), &goal));
        assert!(seen.is_done(&shown(vec![of("new")]), &goal));
    }

    #[test]
    fn hosts_on_baseline_code_may_refuse_the_version_yet() {
        let of = |host: &str, baseline| Host {
            host: host.to_owned(),
            active: Some("new".to_owned()),
            baseline,
            ..Host::default()
        };
        let shown = |hosts| Shown { active: Some("new".to_owned()), hosts, ..Shown::default() };
        let (begun, settled) =
            (shown(vec![of("a", true), of("b", false)]), shown(vec![of("a", false), of("b", false)]));
        let (mut seen, goal) = (Following::default(), Goal::Active("new".to_owned()));
        let mut told = Vec::new();
        let mut look = |shown: &Shown| {
            let mut console = Console {
                input: &mut std::io::empty(),
                out: &mut std::io::sink(),
                err: &mut told,
                json: false,
                yes: false,
                interactive: false,
                is_answered: false,
            };
            seen.look(shown, &goal, Instant::now(), &mut console);
            (seen.is_done(shown, &goal), seen.is_stuck(shown, &goal))
        };
        assert_eq!(look(&begun), (false, false), "it is on its way");
        assert!(look(&settled).0);
        assert!(look(&settled).0);
        let told = String::from_utf8(told).unwrap().replace("after 0 ms", "at once");
        let expected = [
            "a runs new on baseline code at once; the optimised code follows",
            "b runs new at once",
            "a goes on with optimised code at once",
        ];
        assert_eq!(told.lines().collect::<Vec<_>>(), expected);
    }
}
