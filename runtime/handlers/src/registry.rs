//! The versions of every handler that this host runs, and the router over them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use jobcell_core::fleet::VersionBreaks;
use jobcell_core::{Job, Millis, QueueName, Route, Router, Runner};
use tokio::sync::Notify;

use crate::canary::{Canary, picks};
use crate::digest::Digest;
use crate::loaded::Loaded;
use crate::opinion::SecondOpinion;
use crate::routes::{Routes, UnknownHandler};

/// How long a job waits whose handler has no version yet. Long enough that a queue of such jobs costs nearly nothing,
/// short enough that the first deploy is not waited for long.
const FIRST_DEPLOY: Duration = Duration::from_secs(1);
/// How long a retry waits for the version that it is to run on.
const PIN: Duration = Duration::from_millis(200);
/// Versions asked for by retries at once. What does not fit is asked for again by the job's next turn.
const PINS_MAX: usize = 64;

/// What stands in place of a version where a handler has none yet.
pub const WAITING: &str = "-";

/// A version in its place: with what is handed to workers, which may do more than run it.
#[derive(Clone)]
pub struct Slot {
    /// The version.
    pub loaded: Arc<Loaded>,
    /// What runs an attempt on it.
    pub runner: Arc<dyn Runner>,
}

/// What this host runs of one handler. Changed as a whole: an attempt sees one state of it and never a mix.
#[derive(Clone, Default)]
pub struct Slots {
    /// Runs new jobs. None before the first deploy.
    pub active: Option<Slot>,
    /// Runs a share of them.
    pub canary: Option<(Canary, Slot)>,
    /// Ran them before: kept, so that going back needs no loading.
    pub previous: Option<Slot>,
    /// Run retries of jobs that began on them.
    pub pinned: Vec<Slot>,
    /// Whether a retry runs on the version of the attempt before.
    pub same_version: bool,
    /// Versions that retries cannot have: quarantined, refused, forgotten. Digests as texts.
    pub barred: BTreeSet<String>,
    /// Told when a retry waits for a version that is not there, and whatever [`Loaded`] tells.
    pub news: Arc<Notify>,
}

/// What a listing shows of a handler.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct HandlerState {
    /// Its name.
    pub name: String,
    /// The active version: 12 hex digits, `native`, or `-` before the first deploy.
    pub version: String,
    /// The whole digest; none for a native handler.
    pub digest: Option<String>,
}

/// One version of a handler on this host, and what it is there for.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct VersionState {
    /// The handler.
    pub handler: String,
    /// The version: 12 hex digits, or `native`.
    pub version: String,
    /// `active`, `canary`, `previous`, `pinned`, or `draining` while attempts of it still run.
    pub state: &'static str,
}

/// What a change did to one handler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// The handler.
    pub handler: String,
    /// The version before; none when it is new.
    pub from: Option<String>,
    /// The version now; none when it is gone.
    pub to: Option<String>,
}

/// Handlers and the routes to them: together, because a route must never be seen without its handler.
#[derive(Clone, Default)]
struct Set {
    handlers: HashMap<String, Arc<Slots>>,
    routes: HashMap<QueueName, Routes>,
}

/// The handlers of a host. Reading is wait-free; changing is one swap, so that a job sees the old version or the new
/// one and never a mix.
pub struct Registry {
    set: ArcSwap<Set>,
    /// One change at a time.
    changing: Mutex<()>,
    /// Versions that were replaced and may still run.
    replaced: Mutex<Vec<Weak<Loaded>>>,
    /// Versions that retries wait for: handler and digest.
    pins: Mutex<BTreeSet<(String, String)>>,
}

// === impl Slot ===

impl Slot {
    /// A version that is run as it is.
    #[must_use]
    pub fn plain(loaded: Arc<Loaded>) -> Self {
        Self { runner: Arc::clone(&loaded) as _, loaded }
    }
}

// === impl Slots ===

impl Slots {
    /// Every version with what it is there for.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &Slot)> {
        let active = self.active.iter().map(|slot| ("active", slot));
        let canary = self.canary.iter().map(|(_, slot)| ("canary", slot));
        let previous = self.previous.iter().map(|slot| ("previous", slot));
        active.chain(canary).chain(previous).chain(self.pinned.iter().map(|slot| ("pinned", slot)))
    }

    /// The slot of this version.
    #[must_use]
    pub fn find(&self, digest: Digest) -> Option<&Slot> {
        self.iter().map(|(_, slot)| slot).find(|slot| slot.loaded.is(digest))
    }

    /// The versions that take jobs.
    fn takers(&self) -> impl Iterator<Item = &Arc<Loaded>> {
        let canary = self.canary.as_ref().map(|(_, slot)| slot);
        self.active.iter().chain(canary).map(|slot| &slot.loaded)
    }

    /// Whether jobs broke on versions that take jobs, and on no other.
    pub(crate) fn has_broken(&self, now: Millis) -> bool {
        self.takers().any(|loaded| loaded.has_broken(now))
    }

    /// How versions that take jobs did within the last minutes, with the jobs that broke on them and on no other.
    pub(crate) fn breaks(&self, now: Millis) -> BTreeMap<String, VersionBreaks> {
        self.takers().filter_map(|loaded| Some((loaded.version()?.to_string(), loaded.breaks(now)))).collect()
    }

    /// The active version for messages.
    fn version(&self) -> Option<String> {
        self.active.as_ref().map(|slot| slot.runner.version().to_owned())
    }

    /// Tells each version whether it takes new jobs, and whether there is another one to run them.
    fn settle(&self) {
        for (state, slot) in self.iter() {
            let fallback = if state == "active" { &self.previous } else { &self.active };
            slot.loaded.settle(matches!(state, "active" | "canary"), fallback.is_some());
        }
    }
}

// === impl Registry ===

impl Registry {
    /// With these routes and no handlers yet.
    #[must_use]
    pub fn new(routes: HashMap<QueueName, Routes>) -> Self {
        Self {
            set: ArcSwap::from_pointee(Set { handlers: HashMap::new(), routes }),
            changing: Mutex::default(),
            replaced: Mutex::default(),
            pins: Mutex::default(),
        }
    }

    /// Registers a runner that needs no loading, as the embedding program brings it.
    pub fn insert_native(&self, runner: Arc<dyn Runner>) {
        let handler = runner.handler().to_owned();
        let active = Some(Slot::plain(Loaded::native(runner)));
        self.serve(&handler, Slots { active, ..Slots::default() });
    }

    /// Puts these versions of a handler in place of those it had. Jobs that run finish on the version they started with.
    pub fn serve(&self, handler: &str, slots: Slots) {
        slots.settle();
        let _changing = lock(&self.changing);
        let mut set = Set::clone(&self.set.load());
        let before = set.handlers.insert(handler.to_owned(), Arc::new(slots));
        self.set.store(Arc::new(set));
        self.replace(before);
    }

    /// Puts another set of handlers and routes in place of this one: native handlers stay, everything else that is not
    /// given goes. All or nothing.
    ///
    /// # Errors
    /// Every route that would lead nowhere. Nothing was changed then.
    pub fn change(
        &self,
        handlers: HashMap<String, Slots>,
        routes: HashMap<QueueName, Routes>,
    ) -> Result<Vec<Changed>, Vec<UnknownHandler>> {
        let _changing = lock(&self.changing);
        let before = self.set.load_full();
        let is_native =
            |slots: &Slots| slots.active.as_ref().is_some_and(|slot| slot.loaded.version().is_none());
        let mut after: HashMap<String, Arc<Slots>> = before
            .handlers
            .iter()
            .filter(|(_, slots)| is_native(slots))
            .map(|(name, slots)| (name.clone(), Arc::clone(slots)))
            .collect();
        for (name, slots) in handlers {
            slots.settle();
            after.insert(name, Arc::new(slots));
        }
        let dangling = dangling(&routes, &after);
        if !dangling.is_empty() {
            return Err(dangling);
        }
        let changes = changes(&before.handlers, &after);
        let replaced: Vec<Arc<Slots>> = before
            .handlers
            .iter()
            .filter(|(name, slots)| after.get(*name).is_none_or(|now| !Arc::ptr_eq(now, slots)))
            .map(|(_, slots)| Arc::clone(slots))
            .collect();
        self.set.store(Arc::new(Set { handlers: after, routes }));
        drop(before);
        self.replace(replaced);
        Ok(changes)
    }

    /// Remembers what may still run.
    fn replace(&self, before: impl IntoIterator<Item = Arc<Slots>>) {
        let mut replaced = lock(&self.replaced);
        for slots in before {
            replaced.extend(slots.iter().map(|(_, slot)| Arc::downgrade(&slot.loaded)));
        }
        replaced.retain(|version| version.strong_count() > 0);
        replaced.sort_unstable_by_key(|version| version.as_ptr().addr());
        replaced.dedup_by(|a, b| Weak::ptr_eq(a, b));
    }

    /// What this host runs of a handler.
    #[must_use]
    pub fn slots(&self, handler: &str) -> Option<Arc<Slots>> {
        self.set.load().handlers.get(handler).cloned()
    }

    /// The active version of a handler.
    #[must_use]
    pub fn runner(&self, handler: &str) -> Option<Arc<dyn Runner>> {
        let set = self.set.load();
        set.handlers.get(handler)?.active.as_ref().map(|slot| Arc::clone(&slot.runner))
    }

    /// Every handler, by name.
    #[must_use]
    pub fn list(&self) -> Vec<HandlerState> {
        let set = self.set.load();
        let by_name: BTreeMap<_, _> = set.handlers.iter().collect();
        by_name
            .into_iter()
            .map(|(name, slots)| HandlerState {
                name: name.clone(),
                version: slots.version().unwrap_or_else(|| WAITING.to_owned()),
                digest: slots.active.as_ref().and_then(|slot| slot.loaded.version()).map(|d| d.to_string()),
            })
            .collect()
    }

    /// Every version of every handler that takes memory here, those that only finish their attempts included.
    #[must_use]
    pub fn versions(&self) -> Vec<VersionState> {
        let set = self.set.load_full();
        let mut seen = Vec::new();
        let mut versions = Vec::new();
        let mut add = |handler: &str, loaded: &Arc<Loaded>, state| {
            if !seen.contains(&Arc::as_ptr(loaded)) {
                seen.push(Arc::as_ptr(loaded));
                let version = Runner::version(&**loaded).to_owned();
                versions.push(VersionState { handler: handler.to_owned(), version, state });
            }
        };
        let by_name: BTreeMap<_, _> = set.handlers.iter().collect();
        for (handler, slots) in by_name {
            slots.iter().for_each(|(state, slot)| add(handler, &slot.loaded, state));
        }
        // Taken out of the lock: the last of them may end while it is looked at.
        let draining: Vec<Arc<Loaded>> = lock(&self.replaced).iter().filter_map(Weak::upgrade).collect();
        for loaded in &draining {
            add(loaded.handler(), loaded, "draining");
        }
        versions
    }

    /// Versions of the handler that take no new jobs and still run attempts.
    #[must_use]
    pub fn draining(&self, handler: &str) -> Vec<Digest> {
        let slots = self.slots(handler);
        let is_in_place = |loaded: &Loaded| {
            slots.iter().any(|slots| slots.iter().any(|(_, slot)| loaded.same(&slot.loaded)))
        };
        let replaced: Vec<Arc<Loaded>> = lock(&self.replaced).iter().filter_map(Weak::upgrade).collect();
        let replaced = replaced.iter().filter(|loaded| loaded.handler() == handler && !is_in_place(loaded));
        let outgoing = slots.iter().flat_map(|slots| slots.iter());
        let outgoing = outgoing
            .filter(|(state, slot)| !matches!(*state, "active" | "canary") && slot.loaded.running() > 0)
            .map(|(_, slot)| &slot.loaded);
        let mut draining: Vec<Digest> =
            replaced.chain(outgoing).filter_map(|loaded| loaded.version()).collect();
        draining.sort_unstable();
        draining.dedup();
        draining
    }

    /// A version of the handler that is still in memory although nothing new runs on it.
    pub(crate) fn still_there(&self, handler: &str, digest: Digest) -> Option<Arc<Loaded>> {
        let replaced: Vec<Arc<Loaded>> = lock(&self.replaced).iter().filter_map(Weak::upgrade).collect();
        replaced.into_iter().find(|loaded| loaded.handler() == handler && loaded.is(digest))
    }

    /// Routes that lead nowhere.
    #[must_use]
    pub fn dangling(&self) -> Vec<UnknownHandler> {
        let set = self.set.load();
        dangling(&set.routes, &set.handlers)
    }

    /// The queues whose jobs may go to this handler.
    #[must_use]
    pub fn queues_of(&self, handler: &str) -> Vec<QueueName> {
        let set = self.set.load();
        let leads = |routes: &Routes| routes.iter().any(|(_, to)| to == handler);
        let mut queues: Vec<_> =
            set.routes.iter().filter(|(_, routes)| leads(routes)).map(|(queue, _)| queue.clone()).collect();
        queues.sort();
        queues
    }

    /// Takes the versions of the handler that retries wait for.
    pub(crate) fn take_pins(&self, handler: &str) -> Vec<String> {
        let mut pins = lock(&self.pins);
        let (asked, others) = std::mem::take(&mut *pins).into_iter().partition(|(of, _)| of == handler);
        *pins = others;
        let asked: BTreeSet<(String, String)> = asked;
        asked.into_iter().map(|(_, digest)| digest).collect()
    }

    fn ask_pin(&self, handler: &str, slots: &Slots, digest: &str) {
        let mut pins = lock(&self.pins);
        if pins.len() < PINS_MAX && pins.insert((handler.to_owned(), digest.to_owned())) {
            slots.news.notify_one();
        }
    }

    /// Which version of the handler runs this job.
    fn choose(&self, handler: &str, slots: &Slots, queue: &QueueName, job: &Job) -> Route {
        if slots.same_version
            && let Some(before) = job.pinned.as_deref()
            && !slots.barred.contains(before)
        {
            let slot = slots.iter().map(|(_, slot)| slot).find(|slot| slot.runner.digest() == Some(before));
            let is_native = slots.active.as_ref().is_some_and(|slot| slot.runner.digest().is_none());
            match slot {
                Some(slot) => return to(slot),
                None if is_native => {}
                None => {
                    self.ask_pin(handler, slots, before);
                    return Route::Later(PIN);
                }
            }
        }
        let canary = slots.canary.as_ref().filter(|(canary, slot)| {
            slot.loaded.fault().is_none() && picks(canary, queue.as_str(), job.id.as_str())
        });
        let (chosen, other) = match canary {
            Some((_, slot)) => (Some(slot), &slots.active),
            None => (slots.active.as_ref(), &slots.previous),
        };
        match (chosen, other) {
            (Some(slot), Some(other)) if slot.loaded.asks_elsewhere(queue, &job.id) => {
                other.loaded.touch();
                Route::To(Arc::new(SecondOpinion::new(&slot.loaded, &other.loaded)))
            }
            (Some(slot), _) => to(slot),
            (None, _) => Route::Later(FIRST_DEPLOY),
        }
    }
}

fn to(slot: &Slot) -> Route {
    slot.loaded.touch();
    Route::To(Arc::clone(&slot.runner))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every change leaves the state whole, so a panic elsewhere cannot have broken it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn dangling(
    routes: &HashMap<QueueName, Routes>,
    handlers: &HashMap<String, Arc<Slots>>,
) -> Vec<UnknownHandler> {
    let mut known: Vec<String> = handlers.keys().cloned().collect();
    known.sort();
    let mut dangling = Vec::new();
    for (queue, routes) in routes {
        for (job_name, handler) in routes.iter().filter(|(_, handler)| !handlers.contains_key(*handler)) {
            dangling.push(UnknownHandler {
                queue: queue.clone(),
                job_name: job_name.to_owned(),
                handler: handler.to_owned(),
                known: known.clone(),
            });
        }
    }
    dangling
}

/// Handlers that came, went or have another version, by name.
fn changes(before: &HashMap<String, Arc<Slots>>, after: &HashMap<String, Arc<Slots>>) -> Vec<Changed> {
    let version = |set: &HashMap<String, Arc<Slots>>, name: &str| set.get(name).and_then(|s| s.version());
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    names
        .into_iter()
        .map(|name| Changed { handler: name.clone(), from: version(before, name), to: version(after, name) })
        .filter(|changed| changed.from != changed.to)
        .collect()
}

impl Router for Registry {
    fn route(&self, queue: &QueueName, job: &Job) -> Route {
        let set = self.set.load();
        let Some(routes) = set.routes.get(queue) else {
            return Route::Nobody(Routes::none().nobody(queue, &job.name));
        };
        let Some(handler) = routes.handler(&job.name) else {
            return Route::Nobody(routes.nobody(queue, &job.name));
        };
        match set.handlers.get(handler) {
            Some(slots) => self.choose(handler, slots, queue, job),
            None => Route::Nobody(format!(
                "jobs named {:?} in queue {queue:?} go to handler {handler:?}, which is not loaded on this host",
                job.name
            )),
        }
    }
}

#[cfg(test)]
mod tests;
