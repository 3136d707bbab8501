//! Brings one handler of this host to what is wanted of it: verify, admit, compile, link, warm, and only then flip.
//!
//! One task a handler, so that a slow compile of one delays no rollback of another. Whatever fails, what runs goes on,
//! and the host says why it lags. Everything is made of the desired state anew at each turn: a turn that was broken off,
//! or a change that was heard of late, leaves nothing half done.

mod aside;
mod faults;
mod loading;
mod told;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use jobcell_core::event::Event;
use jobcell_core::{Observer, Runner};
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};

use crate::board::Board;
use crate::catalog::Catalog;
use crate::desired::Desired;
use crate::digest::Digest;
use crate::loaded::Loaded;
use crate::loader::{Blame, Haste, LoadError, Loader};
use crate::plan::Plan;
use crate::registry::{Registry, Slot, Slots};
use crate::swap;
use crate::taps::{Tapped, Taps};
use crate::version::{State, Version};
pub(crate) use loading::verify;
use loading::{Anew, is_kept_from_jobs};

/// Before what failed by nobody's fault is tried again: twice as long after each time.
const AGAIN: Duration = Duration::from_millis(500);
/// The longest of these pauses.
const AGAIN_MAX: Duration = Duration::from_secs(30);
/// Versions kept only for retries at once.
const PINNED_MAX: usize = 3;
/// How long one is kept that no retry has asked for.
const PINNED_IDLE: Duration = Duration::from_secs(300);
/// Versions that retries asked for and could not have, at once: beyond that they are looked for anew.
const MISSING_MAX: usize = 256;
/// How long the store may take to say what is wanted.
const PATIENCE: Duration = Duration::from_secs(10);

/// Between a version that is wanted and why another one runs.
pub(crate) const CANNOT: &str = " cannot be run here: ";

/// What the followers of one host share.
pub(crate) struct Stage {
    pub(crate) registry: Arc<Registry>,
    pub(crate) board: Board,
    pub(crate) observer: Arc<dyn Observer>,
    /// Who this host is in the history of a handler: `host:<id>`.
    pub(crate) who: String,
    /// What attempts are recorded for. Set once, before the start, or never.
    pub(crate) taps: OnceLock<Taps>,
}

/// Follows what is wanted of one handler.
pub(crate) struct Follower {
    plan: Plan,
    catalog: Arc<Catalog>,
    loader: Arc<dyn Loader>,
    stage: Arc<Stage>,
    /// Told by the versions and by the router.
    news: Arc<Notify>,
    /// Versions that were tried ahead of their time.
    tried: HashSet<Digest>,
    /// Versions that could not be kept ready for a rollback.
    cold: HashSet<Digest>,
    /// Versions at fault that the catalog does not know of yet, with why.
    faulty: Vec<(Digest, String)>,
    /// Versions that retries asked for and that cannot be had.
    missing: BTreeSet<String>,
    /// Versions that the loader refused, and why: it would say the same again.
    refused: BTreeMap<Digest, String>,
    /// Of the versions wanted, those that cannot be run here until something is changed, whoever found that out.
    unable: BTreeSet<Digest>,
    /// Versions at fault that the catalog has heard of.
    told: HashSet<Digest>,
    /// Versions in place that were loaded under another configuration: they run until they are loaded anew.
    stale: Vec<Weak<Loaded>>,
    tapped: Tapped,
    /// Whether the active version that is wanted was looked at under this configuration: what is wanted since then is news.
    has_looked: bool,
    /// Whether the fleet was last told that new jobs run on baseline code.
    baseline: bool,
}

/// How a turn ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Everything is as wanted, or as near to it as can be.
    Settled,
    /// Something failed that may go well later.
    Again,
    /// Something else is wanted meanwhile.
    Overtaken,
}

/// What of a desired state makes a difference to a host that is under way to it.
fn wanted(desired: &Desired) -> impl PartialEq + use<> {
    (
        desired.active,
        desired.previous,
        desired.canary.as_ref().map(|canary| canary.digest),
        desired.shadow.as_ref().map(|shadow| (shadow.digest, shadow.percent)),
    )
}

// === impl Follower ===

impl Follower {
    pub(crate) fn new(
        plan: Plan,
        catalog: Arc<Catalog>,
        loader: Arc<dyn Loader>,
        stage: Arc<Stage>,
        news: Arc<Notify>,
    ) -> Self {
        Self {
            plan,
            catalog,
            loader,
            stage,
            news,
            tried: HashSet::new(),
            cold: HashSet::new(),
            faulty: Vec::new(),
            missing: BTreeSet::new(),
            refused: BTreeMap::new(),
            unable: BTreeSet::new(),
            told: HashSet::new(),
            stale: Vec::new(),
            tapped: Tapped::default(),
            has_looked: false,
            baseline: false,
        }
    }

    /// Nothing is wanted of the handler yet: the first version that is, is news.
    pub(crate) fn expect_news(&mut self) {
        self.has_looked = true;
    }

    /// Has every version that is in place now loaded anew as soon as it can be.
    pub(crate) fn renew(&mut self) {
        self.stale = self.slots().iter().map(|(_, slot)| Arc::downgrade(&slot.loaded)).collect();
    }

    /// Goes on until it is dropped. `revisions` says when any handler's desired state may have changed.
    pub(crate) async fn run(mut self, mut revisions: watch::Receiver<u64>) {
        let mut pause = AGAIN;
        loop {
            revisions.borrow_and_update();
            let turn = self.turn(&mut revisions).await;
            let again = match turn {
                Turn::Overtaken => continue,
                Turn::Settled => {
                    pause = AGAIN;
                    // Versions that only retries need are dropped when they are not needed any more.
                    PINNED_IDLE
                }
                Turn::Again => {
                    let now = pause;
                    pause = (pause * 2).min(AGAIN_MAX);
                    now
                }
            };
            let news = Arc::clone(&self.news);
            tokio::select! {
                changed = revisions.changed() => if changed.is_err() { return },
                () = news.notified() => {}
                () = sleep(again) => {}
            }
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.plan.name
    }

    fn slots(&self) -> Slots {
        let slots = self.stage.registry.slots(&self.plan.name);
        slots.map_or_else(|| self.empty(&Desired::default()), |slots| Slots::clone(&slots))
    }

    async fn turn(&mut self, revisions: &mut watch::Receiver<u64>) -> Turn {
        self.set_aside_faulty();
        let (catalog, name) = (Arc::clone(&self.catalog), self.plan.name.clone());
        let (generation, desired) = match timeout(PATIENCE, catalog.desired(&name)).await {
            Ok(Ok(Some(found))) => found,
            Ok(Ok(None)) => {
                // Nothing was ever deployed, or somebody removed it all: what runs goes on.
                self.keep_slots();
                self.has_looked = true;
                return Turn::Settled;
            }
            Ok(Err(fault)) => {
                tracing::debug!(handler = name, %fault, "what is wanted cannot be read; what runs goes on");
                return Turn::Again;
            }
            Err(_) => return Turn::Again,
        };
        if self.tell_faulty(&desired).await {
            return Turn::Overtaken;
        }
        let towards = wanted(&desired);
        let bring = self.bring(generation, &desired);
        tokio::pin!(bring);
        loop {
            tokio::select! {
                turn = &mut bring => return turn,
                changed = revisions.changed() => {
                    if changed.is_err() {
                        return bring.await;
                    }
                    let now = timeout(PATIENCE, catalog.desired(&name)).await;
                    if matches!(&now, Ok(Ok(Some((_, now)))) if wanted(now) != towards) {
                        return Turn::Overtaken;
                    }
                }
            }
        }
    }

    /// Loads what is wanted anew without putting it in place: before anything runs, or under another configuration. A
    /// canary that cannot be loaded is left for later.
    ///
    /// Where this host cannot run the active version, and does not run it now, an older one stands in for it.
    ///
    /// # Errors
    /// Why the active version cannot be loaded.
    pub(crate) async fn load_anew(&mut self, generation: u64, desired: &Desired) -> Result<Slots, LoadError> {
        let mut slots = self.empty(desired);
        if let Some(active) = desired.active {
            slots.active = Some(match self.load(active, desired, self.haste(active)).await {
                Ok(loaded) => Slot::plain(loaded),
                Err(fault) => self.stand_in(active, desired, &fault, Anew::Yes).await.ok_or(fault)?,
            });
        }
        if let Some(canary) = &desired.canary
            && let Ok(loaded) = self.load(canary.digest, desired, Haste::Later).await
        {
            slots.canary = Some((canary.clone(), Slot::plain(loaded)));
        }
        self.stage.board.set_loading(self.name(), None);
        self.stage.board.set_generation(self.name(), generation);
        self.place_taps(&mut slots);
        Ok(slots)
    }

    /// No version yet.
    pub(crate) fn empty(&self, desired: &Desired) -> Slots {
        Slots {
            same_version: self.plan.same_version,
            barred: self.barred(desired),
            news: Arc::clone(&self.news),
            ..Slots::default()
        }
    }

    /// One step after the other towards what is wanted.
    async fn bring(&mut self, generation: u64, desired: &Desired) -> Turn {
        let name = self.plan.name.clone();
        self.forget_unknown(desired);
        self.leave_quarantined(desired);
        let reached = self.load_wanted(desired).await;
        let canary = desired.canary.as_ref().map(|canary| canary.digest);
        let wanted = [desired.active, canary];
        self.unable.retain(|digest| wanted.contains(&Some(*digest)));
        self.stage.board.set_refuses(&name, self.unable.iter().copied().collect());
        self.stage.board.set_loading(&name, None);
        self.stage.board.set_generation(&name, generation);
        let draining = desired.versions.iter().any(|version| version.state == State::Draining);
        self.stage.board.set_winding_down(&name, draining);
        self.stage.board.set_draining(&name, self.stage.registry.draining(&name));
        self.note_unusable(desired);
        let baseline = self.slots().active.is_some_and(|slot| !slot.loaded.is_admitted());
        if std::mem::replace(&mut self.baseline, baseline) != baseline {
            self.stage.board.tell();
        }
        let turn = match reached {
            Ok(()) => {
                self.stage.board.set_lag(&name, None);
                Turn::Settled
            }
            Err(fault) => {
                let turn = self.lagging(desired.active, &fault);
                // Whatever kept another version from standing in may pass.
                let is_bad = self.slots().active.is_some_and(|slot| is_kept_from_jobs(&slot, desired));
                if is_bad { Turn::Again } else { turn }
            }
        };
        let told = self.tell_admitted(desired).await;
        self.tap(desired).await;
        self.warm_previous(desired).await;
        self.load_pins(desired).await;
        let ahead = self.load_ahead(desired).await;
        self.tell_drained(desired).await;
        self.stage.board.set_loading(&name, None);
        if told && ahead && self.faulty.is_empty() { turn } else { Turn::Again }
    }

    /// Of a handler with a source of this host's own: what lies there may be a version that is kept from jobs. What is
    /// wanted runs then, and is not what lies there.
    fn note_unusable(&self, desired: &Desired) {
        if self.plan.is_shared() {
            return;
        }
        let unusable = |version: &&Version| matches!(version.state, State::Quarantined | State::Refused);
        let told = |version: &Version| {
            let Version { digest, state, why, .. } = version;
            (*digest, format!("version {} from {} is {state}: {why}", digest.short(), self.plan.source))
        };
        let unusable = desired.versions.iter().filter(unusable).map(told).collect();
        self.stage.board.set_unusable(self.name(), unusable);
    }

    /// Remembers nothing of versions that are not known any more.
    fn forget_unknown(&mut self, desired: &Desired) {
        let is_known = |digest: &Digest| desired.version(digest).is_some();
        self.tried.retain(is_known);
        self.cold.retain(is_known);
        self.told.retain(is_known);
        self.refused.retain(|digest, _| is_known(digest));
        if self.missing.len() > MISSING_MAX {
            self.missing.clear();
        }
    }

    /// What is quarantined is loaded anew when it is used again, also where something holds it until then: nothing counts
    /// then of how it did before.
    fn leave_quarantined(&mut self, desired: &Desired) {
        self.stale.retain(|loaded| loaded.strong_count() > 0);
        let (name, slots) = (self.name().to_owned(), self.slots());
        for version in desired.versions.iter().filter(|version| version.state == State::Quarantined) {
            let in_place = slots.find(version.digest).map(|slot| Arc::clone(&slot.loaded));
            let still_there = self.stage.registry.still_there(&name, version.digest);
            let here = in_place.into_iter().chain(still_there).map(|loaded| Arc::downgrade(&loaded));
            self.stale.extend(here);
        }
        self.stale.sort_by_key(Weak::as_ptr);
        self.stale.dedup_by(|one, other| one.ptr_eq(other));
    }

    /// Says why the host does not run what is wanted.
    pub(crate) fn lagging(&self, wanted: Option<Digest>, fault: &LoadError) -> Turn {
        let name = self.name();
        let active = self.slots().active.map(|slot| slot.loaded);
        let runs_refused = active.as_ref().is_some_and(|loaded| loaded.refused().is_some());
        let runs = active.and_then(|loaded| loaded.version());
        let is_refused = runs_refused && runs == wanted;
        let lag = match (runs, wanted) {
            (Some(runs), Some(wanted)) if runs != wanted => instead(runs, wanted, fault),
            _ => fault.reason(),
        };
        if self.stage.board.set_lag(name, Some(lag)) {
            let runs = self.stage.registry.runner(name).map(|runner| runner.version().to_owned());
            match runs {
                Some(runs) if is_refused => {
                    tracing::error!(handler = name, %fault, runs, "the version is refused after all; it goes on, as no other can take its jobs");
                }
                Some(runs) => {
                    tracing::error!(handler = name, %fault, runs, "the new version is not taken; the one before goes on");
                }
                None => tracing::error!(handler = name, %fault, "no version can be loaded; its jobs wait"),
            }
        }
        // Whatever kept another version from standing in may pass.
        if fault.blame() == Blame::Passing || runs.is_none() || runs_refused {
            Turn::Again
        } else {
            Turn::Settled
        }
    }

    /// Puts these versions in place if anything about them is another.
    fn flip(&self, next: Slots) {
        let (name, now) = (self.name(), self.slots());
        let is_there = self.stage.registry.slots(name).is_some();
        if is_there && same(&now, &next) {
            return;
        }
        let version =
            |slots: &Slots| slots.active.as_ref().map(|slot| Runner::version(&*slot.loaded).to_owned());
        let (from, to) = (version(&now), version(&next));
        let kind = swap::kind(&now, &next);
        self.stage.registry.serve(name, next);
        self.stage.board.tell();
        if from != to {
            tracing::info!(handler = name, from = from.as_deref(), to = to.as_deref(), "handler changed");
        }
        if let Some(kind) = kind {
            self.stage.observer.on(&Event::Swapped { handler: name.to_owned(), kind });
        }
    }

    fn keep_slots(&self) {
        if self.stage.registry.slots(self.name()).is_none() {
            self.flip(self.slots());
        }
    }

    fn barred(&self, desired: &Desired) -> BTreeSet<String> {
        let barred = |version: &&Version| matches!(version.state, State::Quarantined | State::Refused);
        let barred = desired.versions.iter().filter(barred).map(|version| version.digest.to_string());
        barred
            .chain(self.missing.iter().cloned())
            .chain(self.faulty.iter().map(|(d, _)| d.to_string()))
            .collect()
    }
}

/// Why a host lags that runs another version than the one that is wanted.
fn instead(runs: Digest, wanted: Digest, fault: &LoadError) -> String {
    format!("runs {} because {}{CANNOT}{}", runs.short(), wanted.short(), fault.reason())
}

/// Whether both mean the same versions in the same places.
fn same(a: &Slots, b: &Slots) -> bool {
    let slot = |a: &Slot, b: &Slot| Arc::ptr_eq(&a.loaded, &b.loaded) && Arc::ptr_eq(&a.runner, &b.runner);
    let optional = |a: &Option<Slot>, b: &Option<Slot>| match (a, b) {
        (Some(a), Some(b)) => slot(a, b),
        (None, None) => true,
        _ => false,
    };
    let canary = match (&a.canary, &b.canary) {
        (Some((a, a_slot)), Some((b, b_slot))) => a == b && slot(a_slot, b_slot),
        (None, None) => true,
        _ => false,
    };
    canary
        && optional(&a.active, &b.active)
        && optional(&a.previous, &b.previous)
        && a.same_version == b.same_version
        && a.barred == b.barred
        && a.pinned.len() == b.pinned.len()
        && a.pinned.iter().zip(&b.pinned).all(|(a, b)| slot(a, b))
}
