//! Judges canaries by what all hosts say of them, quarantines what broke enough jobs on all of them together, and notes
//! when a version's last job has ended anywhere, and when every host refuses one.
//!
//! Every host judges by itself and comes to the same: the first to write its verdict down over the state that it
//! saw has done it for all. The rest is the matter of one host, the first by its id.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use jobcell_core::documents::{Documents, Folder};
use jobcell_core::fleet::{HEARTBEAT, HostHandler, HostStatus, VersionBreaks, VersionCounts};
use jobcell_core::{Clock, Millis};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use crate::canary::{Verdict, Window, judge};
use crate::catalog::{Catalog, CatalogError};
use crate::controller::Catalogs;
use crate::desired::{Command, Desired};
use crate::digest::Digest;
use crate::follower::{CANNOT, Stage};
use crate::plan::Plan;
use crate::quarantine::fault;
use crate::version::State;

/// Between two looks: hosts say something new that often.
const LOOK: Duration = HEARTBEAT;
/// The first look after something has changed on this host, where it is the one to write such things down.
const SOON: Duration = Duration::from_millis(250);
/// How long every host must have refused a version: one that is being given what it lacks may be on its way.
const REFUSED_FOR: Duration = Duration::from_secs(3);
/// How long the store may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Judges for one host.
pub(crate) struct Judge {
    pub(crate) plans: Vec<Plan>,
    pub(crate) catalogs: Catalogs,
    /// Where the hosts of the fleet say how they stand.
    pub(crate) documents: Arc<dyn Documents>,
    pub(crate) stage: Arc<Stage>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) host: String,
}

/// What the hosts say, this one's own as it is now.
type Hosts = BTreeMap<String, BTreeMap<String, HostHandler>>;

/// What is remembered from one look to the next.
#[derive(Default)]
struct Memory {
    canaries: HashMap<String, Followed>,
    /// Versions that every host refuses, by handler, and since when.
    refused: HashMap<String, (Digest, Instant)>,
    /// How many jobs are known to have broken on versions of each handler, by version and way.
    broken: HashMap<String, Broken>,
    /// Whether this host is not the one to write down what ends, or is refused.
    is_other: bool,
}

type Broken = HashMap<(Digest, String), usize>;

/// One canary that is followed.
struct Followed {
    digest: Digest,
    since: Millis,
    window: Window,
}

// === impl Judge ===

impl Judge {
    /// Goes on until it is dropped.
    pub(crate) async fn run(self) {
        let mut memory = Memory::default();
        let mut changes = self.stage.board.listen();
        let mut pause = LOOK;
        loop {
            tokio::select! {
                () = sleep(pause) => pause = (pause * 2).min(LOOK),
                () = soon_after(&mut changes), if !memory.is_other => pause = SOON,
            }
            let plans: Vec<&Plan> = self.plans.iter().filter(|plan| self.is_due(&plan.name)).collect();
            memory.canaries.retain(|name, _| plans.iter().any(|plan| plan.name == *name));
            memory.refused.retain(|name, _| plans.iter().any(|plan| plan.name == *name));
            memory.broken.retain(|name, _| plans.iter().any(|plan| plan.name == *name));
            if plans.is_empty() {
                continue;
            }
            let is_any_shared = plans.iter().any(|plan| plan.is_shared());
            let Some(fleet) = self.hosts(is_any_shared).await else { continue };
            memory.is_other = is_any_shared;
            for plan in plans {
                let own: Hosts;
                let hosts = if plan.is_shared() {
                    &fleet
                } else {
                    own = fleet
                        .get_key_value(&self.host)
                        .map(|(id, of)| (id.clone(), of.clone()))
                        .into_iter()
                        .collect();
                    &own
                };
                self.look(plan, hosts, &mut memory).await;
            }
        }
    }

    /// Whether there is something to judge about the handler.
    fn is_due(&self, handler: &str) -> bool {
        let slots = self.stage.registry.slots(handler);
        let has_something =
            slots.is_some_and(|slots| slots.canary.is_some() || slots.has_broken(self.clock.now()));
        has_something || self.stage.board.is_winding_down(handler) || self.stage.board.refuses(handler)
    }

    /// What every host says of its handlers. None when the store does not tell.
    async fn hosts(&self, all: bool) -> Option<Hosts> {
        let mut hosts = Hosts::new();
        if all {
            let listed = timeout(PATIENCE, self.documents.list(Folder::Hosts)).await.ok()?.ok()?;
            for (id, document) in listed {
                if let Ok(status) = HostStatus::decode(&id, &document.content) {
                    hosts.insert(id, status.handlers);
                }
            }
        }
        hosts.insert(self.host.clone(), self.stage.board.statuses(&self.stage.registry, self.clock.now()));
        Some(hosts)
    }

    async fn look(&self, plan: &Plan, hosts: &Hosts, memory: &mut Memory) {
        let catalog = if plan.is_shared() { &self.catalogs.shared } else { &self.catalogs.local };
        let desired = timeout(PATIENCE, catalog.desired(&plan.name)).await;
        let Ok(Ok(Some((generation, desired)))) = desired else { return };
        self.judge(plan, catalog, generation, &desired, hosts, &mut memory.canaries).await;
        self.quarantine(plan, catalog, generation, &desired, hosts, &mut memory.broken).await;
        if !plan.is_shared() {
            return;
        }
        // One host does the rest, so that the others need not try.
        let Some(statuses) = self.fleet_of(plan, hosts) else { return };
        memory.is_other = false;
        if statuses.iter().all(|status| status.generation >= generation) {
            self.note_drained(plan, catalog, &desired, &statuses).await;
            self.note_refused(plan, catalog, generation, &desired, &statuses, &mut memory.refused).await;
        }
    }

    async fn judge(
        &self,
        plan: &Plan,
        catalog: &Catalog,
        generation: u64,
        desired: &Desired,
        hosts: &Hosts,
        followed: &mut HashMap<String, Followed>,
    ) {
        let (Some(canary), Some(active)) = (&desired.canary, desired.active) else {
            followed.remove(&plan.name);
            return;
        };
        let now = self.clock.now();
        let anew = || Followed {
            digest: canary.digest,
            since: canary.since,
            window: Window::new(canary.rules.window_ms),
        };
        let of = followed.entry(plan.name.clone()).or_insert_with(anew);
        if (of.digest, of.since) != (canary.digest, canary.since) {
            *of = anew();
        }
        for (id, handlers) in hosts {
            let Some(handler) = handlers.get(&plan.name) else { continue };
            for digest in [canary.digest, active] {
                let counts = handler.counts.get(&digest.to_string()).cloned().unwrap_or_default();
                of.window.observe(now, id, digest, &counts);
            }
        }
        let verdict = judge(canary, &of.window.over(&canary.digest), &of.window.over(&active), now);
        let (who, name) = (self.stage.who.as_str(), plan.name.as_str());
        let done = match verdict {
            Verdict::Keep => return,
            Verdict::Promote { why } => {
                tracing::info!(handler = name, version = canary.digest.short(), why, "promoting the canary");
                catalog.apply(name, Command::Promote { why: Some(why) }, who, Some(generation)).await
            }
            Verdict::RollBack { why } => {
                tracing::warn!(
                    handler = name,
                    version = canary.digest.short(),
                    why,
                    "rolling the canary back"
                );
                catalog.apply(name, Command::Rollback { why: Some(why) }, who, Some(generation)).await
            }
        };
        note(name, done.map(drop));
    }

    /// Quarantines a version that broke enough jobs on all hosts together. One host that has seen enough of them has
    /// done so already.
    async fn quarantine(
        &self,
        plan: &Plan,
        catalog: &Catalog,
        generation: u64,
        desired: &Desired,
        hosts: &Hosts,
        broken: &mut HashMap<String, Broken>,
    ) {
        let slots = self.stage.registry.slots(&plan.name);
        let Some(slots) = slots.filter(|slots| slots.has_broken(self.clock.now())) else {
            // What others have seen they judge themselves.
            broken.remove(&plan.name);
            return;
        };
        let known = broken.entry(plan.name.clone()).or_default();
        let canary = desired.canary.as_ref().map(|canary| canary.digest);
        let mut found = Broken::new();
        for digest in [desired.active, canary].into_iter().flatten() {
            let Some(slot) = slots.find(digest) else { continue };
            let all = put_together(&plan.name, &digest, generation, hosts);
            for (name, jobs) in &all.ways {
                let before = known.get(&(digest, name.clone())).copied().unwrap_or_default();
                found.insert((digest, name.clone()), jobs.len());
                // Only another job that broke puts a version at fault, never that what went well is forgotten.
                let is_more = jobs.len() > before;
                let Some(way) = slot.loaded.way(name) else { continue };
                if !is_more || !all.is_fault(name, plan.quarantine) {
                    continue;
                }
                let why = fault(jobs.len() as u64, all.attempts, &way);
                let command = Command::Quarantine { digest, why: why.clone() };
                let done = catalog.apply(&plan.name, command, &self.stage.who, Some(generation)).await;
                if done.is_ok() {
                    tracing::error!(
                        handler = plan.name,
                        version = digest.short(),
                        why,
                        "the version is at fault: it is quarantined, and its jobs go to another one"
                    );
                }
                if matches!(done, Err(CatalogError::Store(_) | CatalogError::Conflict { .. })) {
                    // To be tried again.
                    found.remove(&(digest, name.clone()));
                }
                note(&plan.name, done.map(drop));
            }
        }
        *known = found;
    }

    /// How the hosts stand that have the handler. None when another of them is to look after it.
    fn fleet_of<'a>(&self, plan: &Plan, hosts: &'a Hosts) -> Option<Vec<&'a HostHandler>> {
        let mut first = None;
        let mut statuses = Vec::new();
        for (id, handlers) in hosts {
            if let Some(status) = handlers.get(&plan.name) {
                first.get_or_insert(id);
                statuses.push(status);
            }
        }
        (first == Some(&self.host)).then_some(statuses)
    }

    /// Says which versions run nowhere any more.
    async fn note_drained(
        &self,
        plan: &Plan,
        catalog: &Catalog,
        desired: &Desired,
        statuses: &[&HostHandler],
    ) {
        let runs = |digest: &str| {
            statuses.iter().any(|status| {
                let places = [&status.active, &status.canary];
                status.draining.iter().any(|of| of == digest)
                    || places.into_iter().any(|of| of.as_deref() == Some(digest))
            })
        };
        for version in desired.versions.iter().filter(|version| version.state == State::Draining) {
            if !runs(&version.digest.to_string()) {
                let drained = Command::Drained { digest: version.digest };
                let done = catalog.apply(&plan.name, drained, &self.stage.who, None).await;
                note(&plan.name, done.map(drop));
            }
        }
    }

    /// Says which version every host refuses, where another one does its work already: what is wanted is then told as it
    /// is. Where no other can, the jobs wait for a host that can run it.
    async fn note_refused(
        &self,
        plan: &Plan,
        catalog: &Catalog,
        generation: u64,
        desired: &Desired,
        statuses: &[&HostHandler],
        refused: &mut HashMap<String, (Digest, Instant)>,
    ) {
        let Some(digest) = refused_by_all(desired, statuses) else {
            refused.remove(&plan.name);
            return;
        };
        let now = Instant::now();
        let since = refused.entry(plan.name.clone()).or_insert((digest, now));
        if since.0 != digest {
            *since = (digest, now);
        }
        if since.1.elapsed() < REFUSED_FOR {
            return;
        }
        let lag = statuses.iter().find_map(|status| status.lag.as_deref()).unwrap_or_default();
        let lag = lag.split_once(CANNOT).map_or(lag, |(_, reason)| reason);
        let why = match statuses.len() {
            1 => format!("the only host refuses it: {lag}"),
            hosts => format!("all {hosts} hosts refuse it: {lag}"),
        };
        tracing::warn!(handler = plan.name, version = digest.short(), why, "no host runs the version");
        let refuse = Command::Refuse { digest, why };
        let done = catalog.apply(&plan.name, refuse, &self.stage.who, Some(generation)).await;
        note(&plan.name, done.map(drop));
    }
}

/// How the version did on all hosts. Of one that has not acted on what is wanted now only the attempts count: what broke
/// there may be from before the version was released.
fn put_together(handler: &str, version: &Digest, generation: u64, hosts: &Hosts) -> VersionBreaks {
    let version = version.to_string();
    let mut all = VersionBreaks::default();
    for of in hosts.values().filter_map(|handlers| handlers.get(handler)) {
        let runs = [&of.active, &of.canary].into_iter().any(|runs| runs.as_ref() == Some(&version));
        match of.breaks.get(&version) {
            Some(breaks) if of.generation >= generation => all.add(breaks),
            Some(VersionBreaks { attempts, .. }) => {
                all.add(&VersionBreaks { attempts: *attempts, ..VersionBreaks::default() });
            }
            // A host of an older release does not tell. All that it has counted is more than what lies within the window: that
            // may delay a quarantine, and puts no version at fault.
            None if runs => {
                let attempts = of.counts.get(&version).map_or(0, VersionCounts::attempts);
                all.add(&VersionBreaks { attempts, ..VersionBreaks::default() });
            }
            None => {}
        }
    }
    all
}

/// The version wanted that no host has ever run and that every host refuses, where there is another one to do its work.
fn refused_by_all(desired: &Desired, statuses: &[&HostHandler]) -> Option<Digest> {
    let canary = desired.canary.as_ref().map(|canary| canary.digest);
    let active = desired.active.filter(|_| desired.previous.is_some());
    let is_refused = |digest: &Digest| {
        let is_new = desired.version(digest).is_some_and(|version| version.admitted_at.is_none());
        let text = digest.to_string();
        // One that has begun on it may have no other for its jobs.
        let is_without =
            |status: &&HostHandler| status.refuses.contains(&text) && status.active.as_ref() != Some(&text);
        is_new && !statuses.is_empty() && statuses.iter().all(is_without)
    };
    [canary, active].into_iter().flatten().find(is_refused)
}

/// Comes back a moment after something has changed; what changes together is looked at together.
async fn soon_after(changes: &mut watch::Receiver<u64>) {
    if changes.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
    sleep(SOON).await;
}

/// Somebody else was faster, or the store is away: the next look sees what there is then.
fn note(handler: &str, done: Result<(), CatalogError>) {
    if let Err(fault) = done {
        tracing::debug!(handler, %fault, "not written down");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apply::apply;
    use crate::desired::Deployed;
    use crate::manifest::Manifest;
    use crate::wants::Wants;

    /// One host that runs the version and has acted on this generation, with the jobs that broke on it.
    fn host(version: &Digest, generation: u64, attempts: u64, jobs: &[u64]) -> BTreeMap<String, HostHandler> {
        let mut breaks = VersionBreaks { attempts, ..VersionBreaks::default() };
        if !jobs.is_empty() {
            breaks.ways.insert("f".to_owned(), jobs.iter().copied().collect());
        }
        let (active, breaks) = (Some(version.to_string()), [(version.to_string(), breaks)].into());
        [("media".to_owned(), HostHandler { active, generation, breaks, ..HostHandler::default() })].into()
    }

    #[test]
    fn what_all_hosts_ran_is_held_against_what_broke_on_some() {
        let (version, other) = (Digest::of(b"1"), Digest::of(b"2"));
        let is_fault = |hosts: &Hosts, of: &Digest| put_together("media", of, 7, hosts).is_fault("f", 4);
        let mut hosts = Hosts::from([
            ("a".to_owned(), host(&version, 7, 4, &[1, 2, 3])),
            ("b".to_owned(), host(&version, 7, 2, &[3, 4])),
        ]);
        assert!(is_fault(&hosts, &version), "four jobs of six attempts");
        assert!(!is_fault(&hosts, &other));
        assert!(!put_together("overlay", &version, 7, &hosts).is_fault("f", 4));

        hosts.insert("c".to_owned(), host(&version, 7, 11, &[]));
        assert!(!is_fault(&hosts, &version), "4 of 17 are less than one in four");
        // A host of an older release tells only what it has counted, and counts only while it runs the version.
        let mut older = host(&version, 7, 0, &[]);
        let of = older.get_mut("media").unwrap();
        of.breaks.clear();
        of.counts = [(version.to_string(), VersionCounts { done: 11, ..VersionCounts::default() })].into();
        hosts.insert("c".to_owned(), older.clone());
        assert!(!is_fault(&hosts, &version));
        older.get_mut("media").unwrap().active = None;
        hosts.insert("c".to_owned(), older);
        assert!(is_fault(&hosts, &version));
        // What a host says that has not heard of the last decision may be from before it.
        hosts.insert("b".to_owned(), host(&version, 6, 2, &[3, 4]));
        assert!(!is_fault(&hosts, &version));
        assert_eq!(put_together("media", &version, 7, &hosts).attempts, 6);
    }

    #[test]
    fn what_a_host_runs_for_want_of_another_is_not_refused_for_all() {
        let (one, two) = (Digest::of(b"1"), Digest::of(b"2"));
        let mut desired = Desired::default();
        for digest in [one, two] {
            let deployed = Deployed {
                digest,
                size: 1,
                manifest: Manifest::unsaid("media", None),
                wants: Wants::default(),
                signature: None,
                signed_by: None,
                is_mended: false,
            };
            for command in [Command::Deploy(Box::new(deployed)), Command::Activate { digest, approve: true }]
            {
                apply(&mut desired, command, "t", 1).unwrap();
            }
        }
        let of = |runs: &Digest, refuses: &[&Digest]| HostHandler {
            active: Some(runs.to_string()),
            refuses: refuses.iter().map(ToString::to_string).collect(),
            ..HostHandler::default()
        };
        let (without, with, able) = (of(&one, &[&two]), of(&two, &[&two]), of(&two, &[]));
        assert_eq!(refused_by_all(&desired, &[&without, &without]), Some(two));
        assert_eq!(refused_by_all(&desired, &[&without, &with]), None, "it began there, and has no other");
        assert_eq!(refused_by_all(&desired, &[&without, &able]), None);
        assert_eq!(refused_by_all(&desired, &[]), None);
    }
}
