//! How this host stands with each handler: what it runs, what it is loading, why it lags, and how its versions do.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jobcell_core::Millis;
use jobcell_core::fleet::HostHandler;
use tokio::sync::watch;

use crate::digest::Digest;
use crate::loaded::Tally;
use crate::registry::{Registry, Slots};

/// Versions of one handler whose attempts are counted at once at least. Beyond that the oldest go that nobody runs.
const TALLIES: usize = 16;

/// How this host stands.
pub(crate) struct Board {
    handlers: Mutex<BTreeMap<String, Standing>>,
    /// Counts changes that others want to hear of.
    changed: watch::Sender<u64>,
}

#[derive(Default)]
struct Standing {
    loading: Option<Digest>,
    /// Why what is wanted does not run.
    lag: Option<String>,
    /// Of what is wanted, what cannot be run here until something is changed.
    refuses: Vec<Digest>,
    /// Why nothing new can be had from the source.
    source: Option<String>,
    generation: u64,
    /// Whether a version takes no more jobs and is not known to run none.
    is_winding_down: bool,
    /// Versions that take no new jobs and still run some, as the fleet was last told.
    draining: Vec<Digest>,
    /// What was last taken from the source.
    taken: Option<Digest>,
    /// Versions that came from the source and cannot be used, and why, in sentences.
    unusable: BTreeMap<Digest, String>,
    /// In the order in which they were first loaded.
    tallies: Vec<(Digest, Arc<Tally>)>,
}

// === impl Board ===

impl Default for Board {
    fn default() -> Self {
        Self { handlers: Mutex::default(), changed: watch::Sender::new(0) }
    }
}

impl Board {
    fn handlers(&self) -> MutexGuard<'_, BTreeMap<String, Standing>> {
        // Every change leaves the state whole, so a panic elsewhere cannot have broken it.
        self.handlers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells those who listen that something changed.
    pub(crate) fn tell(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    /// Another number after every change.
    pub(crate) fn listen(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    fn set<T: PartialEq>(&self, handler: &str, field: impl Fn(&mut Standing) -> &mut T, value: T) -> bool {
        let mut handlers = self.handlers();
        let field = field(handlers.entry(handler.to_owned()).or_default());
        let differs = *field != value;
        *field = value;
        drop(handlers);
        if differs {
            self.tell();
        }
        differs
    }

    /// Notes which version is being loaded.
    pub(crate) fn set_loading(&self, handler: &str, digest: Option<Digest>) {
        self.set(handler, |standing| &mut standing.loading, digest);
    }

    /// Notes why the host does not run what is wanted. True when that is news.
    pub(crate) fn set_lag(&self, handler: &str, lag: Option<String>) -> bool {
        self.set(handler, |standing| &mut standing.lag, lag)
    }

    /// Notes which of the versions wanted cannot be run here until something is changed.
    pub(crate) fn set_refuses(&self, handler: &str, versions: Vec<Digest>) {
        self.set(handler, |standing| &mut standing.refuses, versions);
    }

    /// Whether this host cannot run something that is wanted.
    pub(crate) fn refuses(&self, handler: &str) -> bool {
        self.handlers().get(handler).is_some_and(|standing| !standing.refuses.is_empty())
    }

    /// Notes why nothing new can be had from the source. True when that is news.
    pub(crate) fn set_source_fault(&self, handler: &str, fault: Option<String>) -> bool {
        self.set(handler, |standing| &mut standing.source, fault)
    }

    /// Notes which state of the desired one was acted on.
    pub(crate) fn set_generation(&self, handler: &str, generation: u64) {
        self.set(handler, |standing| &mut standing.generation, generation);
    }

    /// Notes whether some version takes no more jobs and is not known to run none.
    pub(crate) fn set_winding_down(&self, handler: &str, is: bool) {
        self.handlers().entry(handler.to_owned()).or_default().is_winding_down = is;
    }

    /// Notes which versions take no new jobs and still run some: others wait to hear of their ends.
    pub(crate) fn set_draining(&self, handler: &str, versions: Vec<Digest>) {
        self.set(handler, |standing| &mut standing.draining, versions);
    }

    /// Whether some version takes no more jobs and is not known to run none.
    pub(crate) fn is_winding_down(&self, handler: &str) -> bool {
        self.handlers().get(handler).is_some_and(|standing| standing.is_winding_down)
    }

    /// Notes what was taken from the handler's source last.
    pub(crate) fn set_taken(&self, handler: &str, digest: Digest) {
        self.handlers().entry(handler.to_owned()).or_default().taken = Some(digest);
    }

    /// What was taken from the handler's source last.
    pub(crate) fn taken(&self, handler: &str) -> Option<Digest> {
        self.handlers().get(handler)?.taken
    }

    /// Notes which versions from the source cannot be used, and why. Where what lies in the source is one of them, the
    /// host lags.
    pub(crate) fn set_unusable(&self, handler: &str, versions: BTreeMap<Digest, String>) {
        self.set(handler, |standing| &mut standing.unusable, versions);
    }

    /// Forgets all handlers but these.
    pub(crate) fn keep(&self, names: &BTreeSet<&str>) {
        self.handlers().retain(|name, _| names.contains(name.as_str()));
    }

    /// The counts of a version: those that it had when it ran here before.
    pub(crate) fn tally(&self, handler: &str, digest: Digest) -> Arc<Tally> {
        let mut handlers = self.handlers();
        let tallies = &mut handlers.entry(handler.to_owned()).or_default().tallies;
        if let Some((_, tally)) = tallies.iter().find(|(of, _)| *of == digest) {
            return Arc::clone(tally);
        }
        if tallies.len() >= TALLIES
            && let Some(unused) = tallies.iter().position(|(_, tally)| Arc::strong_count(tally) == 1)
        {
            tallies.remove(unused);
        }
        let tally = Arc::<Tally>::default();
        tallies.push((digest, Arc::clone(&tally)));
        tally
    }

    /// Why this host lags behind what is wanted of the handler.
    pub(crate) fn lag(&self, handler: &str) -> Option<String> {
        self.handlers().get(handler).and_then(Standing::lag)
    }

    /// What the host tells the fleet.
    pub(crate) fn statuses(&self, registry: &Registry, now: Millis) -> BTreeMap<String, HostHandler> {
        let handlers = self.handlers();
        handlers.iter().map(|(name, standing)| (name.clone(), standing.status(name, registry, now))).collect()
    }
}

impl Standing {
    fn lag(&self) -> Option<String> {
        let unusable = self.taken.as_ref().and_then(|taken| self.unusable.get(taken));
        let told: Vec<&str> =
            [&self.lag, &self.source].into_iter().flatten().chain(unusable).map(String::as_str).collect();
        (!told.is_empty()).then(|| told.join("; "))
    }

    fn status(&self, name: &str, registry: &Registry, now: Millis) -> HostHandler {
        let slots = registry.slots(name).unwrap_or_default();
        let draining = registry.draining(name);
        let Slots { active, canary, previous, .. } = &*slots;
        let text = |slot: &crate::registry::Slot| slot.loaded.version().map(|digest| digest.to_string());
        let is_there = |digest: &Digest| slots.find(*digest).is_some() || draining.contains(digest);
        HostHandler {
            active: active.as_ref().and_then(text),
            canary: canary.as_ref().and_then(|(_, slot)| text(slot)),
            previous: previous.as_ref().and_then(text),
            draining: draining.iter().map(Digest::to_string).collect(),
            loading: self.loading.map(|digest| digest.to_string()),
            lag: self.lag(),
            refuses: self.refuses.iter().map(Digest::to_string).collect(),
            baseline: active.as_ref().is_some_and(|slot| !slot.loaded.is_admitted()),
            generation: self.generation,
            counts: self
                .tallies
                .iter()
                .filter(|(digest, _)| is_there(digest))
                .map(|(digest, tally)| (digest.to_string(), tally.counts()))
                .collect(),
            breaks: slots.breaks(now),
            ..HostHandler::default()
        }
    }
}
