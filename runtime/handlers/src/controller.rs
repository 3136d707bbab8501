//! Everything that moves a host's handlers: it starts them, follows what is wanted of each, takes new versions from
//! files and registries, judges canaries, and takes another configuration whole or not at all.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::{Arc, OnceLock, RwLock};
use std::time::Duration;

use futures::StreamExt;
use jobcell_core::documents::{Documents, Folder};
use jobcell_core::fleet::HostHandler;
use jobcell_core::{Clock, Observer, QueueName};
use tokio::sync::{Mutex, Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::artifact::{Artifact, Source};
use crate::board::Board;
use crate::catalog::{Catalog, Inspect};
use crate::deployer::{Deployer, hand_in, signature_beside};
use crate::desired::Desired;
use crate::file::{self, Listening, REST_PATIENCE, Reading};
use crate::follower::{Follower, Stage, verify};
use crate::judge::Judge;
use crate::loader::{Blame, LoadError, Loader};
use crate::oci::OciRegistries;
use crate::plan::Plan;
use crate::registry::{Changed, Registry, Slot, Slots};
use crate::routes::{Routes, UnknownHandler};
use crate::taps::Taps;
use crate::trust::{Signature, Trust};

/// Handlers that are loaded side by side: enough to read and link some while one is compiled, and few enough that
/// hundreds of them are not in memory all at once.
const LOADS_MAX: usize = 8;
/// How long one wait for changes lasts.
const WAIT: Duration = Duration::from_secs(5);
/// Before a store is asked again that could not say what changed.
const AGAIN: Duration = Duration::from_millis(250);
/// How long the store may take to say what is wanted when a host starts.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a host is set up with, and what another configuration changes.
#[derive(Clone)]
pub struct Setup {
    /// Makes what runs.
    pub loader: Arc<dyn Loader>,
    /// The handlers.
    pub plans: Vec<Plan>,
    /// Which queue's jobs go to which handler.
    pub routes: HashMap<QueueName, Routes>,
    /// Whose versions are believed.
    pub trust: Trust,
    /// Who this host is to registries.
    pub registries: OciRegistries,
}

/// What a controller stands on.
pub struct Ground {
    /// The handlers' versions in place.
    pub registry: Arc<Registry>,
    /// Where the fleet's desired state is.
    pub documents: Arc<dyn Documents>,
    /// Looks into components.
    pub inspect: Arc<dyn Inspect>,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// Who hears of swaps.
    pub observer: Arc<dyn Observer>,
    /// The id of this host in the fleet.
    pub host: String,
}

/// The two places where versions are listed.
#[derive(Clone)]
pub struct Catalogs {
    /// Of handlers with `source = "store"`: the fleet's.
    pub shared: Arc<Catalog>,
    /// Of handlers from files and registries: this host's, as long as it runs.
    pub local: Arc<Catalog>,
}

/// A change that was not made.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// Handlers that cannot be read or are refused: all of them.
    #[error("{}", lines(.0))]
    Handlers(Vec<LoadError>),
    /// Routes that would lead to handlers that do not exist: all of them.
    #[error("{}", lines(.0))]
    Routes(Vec<UnknownHandler>),
}

fn lines<E: std::fmt::Display>(faults: &[E]) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// Moves a host's handlers. Dropping it stops all that moves; what is in place stays.
pub struct Controller {
    stage: Arc<Stage>,
    shared: Arc<dyn Documents>,
    local: Arc<dyn Documents>,
    inspect: Arc<dyn Inspect>,
    clock: Arc<dyn Clock>,
    host: String,
    /// What others ask for: changed only together with `running`.
    public: RwLock<Option<Public>>,
    /// None before the start.
    running: Mutex<Option<Running>>,
}

#[derive(Clone)]
struct Public {
    catalogs: Catalogs,
    plans: Arc<BTreeMap<String, Plan>>,
}

struct Running {
    setup: Setup,
    catalogs: Catalogs,
    /// One for each handler, told by its versions.
    news: HashMap<String, Arc<Notify>>,
    begun: HashMap<String, Begun>,
    /// To the writers of the handlers' files: the next change asks for them, also where nothing else watches those files.
    _listening: Vec<Listening>,
    tasks: JoinSet<()>,
}

/// A handler that is ready to be put in place, and what is handed in to this host's own catalog when it is.
struct Ready {
    name: String,
    slots: Slots,
    hand_in: Option<(Artifact, Option<Signature>)>,
    begun: Begun,
}

/// How a handler stood when this host took its setup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Begun {
    /// With what is wanted of it, or with why that cannot be.
    Loaded,
    /// As it was before, since what is wanted of it cannot be had while the store is away: that is loaded when it is back.
    Kept,
    /// With no version, as none was wanted.
    Vacant,
}

/// The files of these handlers that have one, each once it has rested or should have.
async fn rested(plans: &[Plan]) -> Vec<Option<Reading>> {
    let until = Instant::now() + REST_PATIENCE;
    let rested = plans.iter().map(async |plan| {
        let Source::File(path) = &plan.source else { return None };
        let mut file = Reading::new(&plan.name, path, until);
        file.rested().await;
        Some(file)
    });
    futures::future::join_all(rested).await
}

// === impl Controller ===

impl Controller {
    /// With nothing to do yet. `local` keeps what this host takes from files and registries.
    #[must_use]
    pub fn new(ground: Ground, local: Arc<dyn Documents>) -> Self {
        let Ground { registry, documents, inspect, clock, observer, host } = ground;
        let who = format!("host:{host}");
        let stage =
            Arc::new(Stage { registry, board: Board::default(), observer, who, taps: OnceLock::new() });
        Self {
            stage,
            shared: documents,
            local,
            inspect,
            clock,
            host,
            public: RwLock::default(),
            running: Mutex::default(),
        }
    }

    /// Loads every handler and goes on following what is wanted of each. Where a version comes from the store or a
    /// registry and cannot be had, the handler waits for it.
    ///
    /// # Errors
    /// Every handler of this host's own files that cannot be read or is refused, or every route that leads nowhere.
    pub async fn start(&self, setup: Setup) -> Result<(), ChangeError> {
        self.change(setup).await.map(drop)
    }

    /// Takes another set of handlers and routes in place of this one. All or nothing; every version is loaded anew, as
    /// its limits and grants may have changed. Native handlers stay, and so does one that is told nothing new while the
    /// store cannot say what is wanted of it: it is loaded anew when the store can.
    ///
    /// # Errors
    /// Every handler that cannot be loaded any more, or every route that would lead nowhere. What runs goes on then.
    pub async fn change(&self, setup: Setup) -> Result<Vec<Changed>, ChangeError> {
        let mut running = self.running.lock().await;
        // Before anything stands still for it, and while those that watch the files know who has them open.
        let files = rested(&setup.plans).await;
        let listening = files.iter().flatten().map(Reading::listen).collect();
        if let Some(running) = &mut *running {
            // Nothing else flips while this change is made.
            running.tasks.shutdown().await;
        }
        let catalogs = self.catalogs_of(&setup);
        let news = news(&setup.plans, running.as_ref());
        let before = running.as_ref().map(|running| &running.setup);
        // On the heap: it is large, and everything that starts a host holds it.
        match Box::pin(self.take(&setup, files, &catalogs, &news, before)).await {
            Ok((changes, begun)) => {
                let plans = setup.plans.iter().map(|plan| (plan.name.clone(), plan.clone())).collect();
                let public = Public { catalogs: catalogs.clone(), plans: Arc::new(plans) };
                *self.public.write().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(public);
                let tasks = self.follow(&setup, &catalogs, &news, &begun);
                *running = Some(Running { setup, catalogs, news, begun, _listening: listening, tasks });
                Ok(changes)
            }
            Err(fault) => {
                if let Some(Running { setup, catalogs, news, begun, tasks, .. }) = &mut *running {
                    *tasks = self.follow(setup, catalogs, news, begun);
                }
                Err(fault)
            }
        }
    }

    /// Stops all that moves; what is in place stays.
    pub async fn stop(&self) {
        if let Some(running) = &mut *self.running.lock().await {
            running.tasks.shutdown().await;
        }
    }

    // --- what others see ---

    fn public(&self) -> Option<Public> {
        self.public.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// Where versions are listed, and changes asked for. None before the start.
    #[must_use]
    pub fn catalogs(&self) -> Option<Catalogs> {
        self.public().map(|public| public.catalogs)
    }

    /// What the host is told of its handlers, by name.
    #[must_use]
    pub fn plans(&self) -> Arc<BTreeMap<String, Plan>> {
        self.public().map(|public| public.plans).unwrap_or_default()
    }

    /// The catalog that lists the versions of this handler. None when this host does not have it.
    #[must_use]
    pub fn catalog_of(&self, handler: &str) -> Option<Arc<Catalog>> {
        let Public { catalogs, plans } = self.public()?;
        Some(if plans.get(handler)?.is_shared() { catalogs.shared } else { catalogs.local })
    }

    /// How this host stands with each handler, for its document in the fleet.
    #[must_use]
    pub fn statuses(&self) -> BTreeMap<String, HostHandler> {
        let mut statuses = self.stage.board.statuses(&self.stage.registry, self.clock.now());
        if let Some(taps) = self.stage.taps.get() {
            for (name, status) in &mut statuses {
                status.shadow = taps.shadows.report(name);
            }
        }
        statuses
    }

    /// Has versions recorded from now on, for shadows and to be run again. Call it before the start; the first call counts.
    pub fn tap_with(&self, taps: Taps) {
        self.stage.taps.get_or_init(|| taps);
    }

    /// Another number whenever [`Controller::statuses`] changed in a way that others should hear of at once.
    #[must_use]
    pub fn listen(&self) -> watch::Receiver<u64> {
        self.stage.board.listen()
    }

    /// Why this host is not ready: the handlers of its queues that have no version yet, a sentence each.
    #[must_use]
    pub fn waiting(&self) -> Vec<String> {
        let registry = &self.stage.registry;
        let plans = self.plans();
        let waits = |name: &&String| {
            let has_version = registry.slots(name).is_some_and(|slots| slots.active.is_some());
            !has_version && !registry.queues_of(name).is_empty()
        };
        let told = plans.iter().filter(|(name, _)| waits(name)).map(|(name, plan)| {
            let lag = self.stage.board.lag(name).unwrap_or_else(|| match &plan.source {
                Source::Store => format!("deploy one with `jobcell handler deploy {name} FILE.wasm`"),
                source => format!("{source} is being asked for one"),
            });
            format!("handler {name:?} has no version yet; its jobs wait: {lag}")
        });
        told.collect()
    }

    // --- taking a setup ---

    fn catalogs_of(&self, setup: &Setup) -> Catalogs {
        let catalog = |documents: &Arc<dyn Documents>| {
            Arc::new(Catalog::new(
                Arc::clone(documents),
                setup.trust.clone(),
                Arc::clone(&self.inspect),
                Arc::clone(&self.clock),
            ))
        };
        Catalogs { shared: catalog(&self.shared), local: catalog(&self.local) }
    }

    async fn take(
        &self,
        setup: &Setup,
        files: Vec<Option<Reading>>,
        catalogs: &Catalogs,
        news: &HashMap<String, Arc<Notify>>,
        before: Option<&Setup>,
    ) -> Result<(Vec<Changed>, HashMap<String, Begun>), ChangeError> {
        let ready = |(plan, file)| self.ready(plan, file, setup, catalogs, news, before);
        let loads: Vec<_> = setup.plans.iter().zip(files).map(ready).collect();
        let loaded: Vec<_> = futures::stream::iter(loads).buffered(LOADS_MAX).collect().await;
        let (mut ready, mut faults) = (Vec::new(), Vec::new());
        for (plan, loaded) in setup.plans.iter().zip(loaded) {
            if matches!(plan.source, Source::File(_)) && self.serves(&plan.name) {
                let fault = loaded.as_ref().err().map(LoadError::reason);
                self.stage.board.set_source_fault(&plan.name, fault);
            }
            match loaded {
                Ok(handler) => ready.push(handler),
                Err(fault) => faults.push(fault),
            }
        }
        if !faults.is_empty() {
            return Err(ChangeError::Handlers(faults));
        }
        let (mut handlers, mut handed_in, mut begins) = (HashMap::new(), Vec::new(), HashMap::new());
        for Ready { name, slots, hand_in, begun } in ready {
            begins.insert(name.clone(), begun);
            handed_in.extend(hand_in.map(|(artifact, signature)| (name.clone(), artifact, signature)));
            handlers.insert(name, slots);
        }
        let changes =
            self.stage.registry.change(handlers, setup.routes.clone()).map_err(ChangeError::Routes)?;
        let names: BTreeSet<&str> = setup.plans.iter().map(|plan| plan.name.as_str()).collect();
        self.stage.board.keep(&names);
        for (name, artifact, signature) in handed_in {
            let Some(plan) = setup.plans.iter().find(|plan| plan.name == name) else { continue };
            self.stage.board.set_taken(&name, artifact.digest);
            // It runs already. What keeps it from being listed is told, and mended with the next version.
            if let Err(fault) = hand_in(&catalogs.local, plan, artifact, signature).await {
                tracing::warn!(handler = name, %fault, "the version runs and cannot be listed");
            }
        }
        self.stage.board.tell();
        Ok((changes, begins))
    }

    /// Loads one handler as it is wanted, without putting it in place.
    async fn ready(
        &self,
        plan: &Plan,
        file: Option<Reading>,
        setup: &Setup,
        catalogs: &Catalogs,
        news: &HashMap<String, Arc<Notify>>,
        before: Option<&Setup>,
    ) -> Result<Ready, LoadError> {
        let mut follower = self.follower(plan, setup, catalogs, news);
        let catalog = if plan.is_shared() { &catalogs.shared } else { &catalogs.local };
        let refused = |reason, blame| LoadError::Refused { handler: plan.name.clone(), reason, blame };
        let found = match timeout(PATIENCE, catalog.desired(&plan.name)).await {
            Ok(Ok(found)) => Ok(found.unwrap_or_default()),
            Ok(Err(fault)) => Err(fault.to_string()),
            Err(_) => Err(format!("the store did not answer within {} s", PATIENCE.as_secs())),
        };
        let found = found.map_err(|fault| {
            refused(format!("what is wanted of it cannot be read: {fault}"), Blame::Passing)
        });
        let name = plan.name.clone();
        if let (Source::File(path), Some(file), Ok((_, desired))) = (&plan.source, file, &found)
            && let Some(ready) = self.ready_file(&mut follower, path, file, setup, desired).await?
        {
            return Ok(ready);
        }
        let is_vacant = found.as_ref().is_ok_and(|(_, desired)| desired.active.is_none());
        let begun = if is_vacant { Begun::Vacant } else { Begun::Loaded };
        let loaded = match found {
            Ok((generation, desired)) => follower.load_anew(generation, &desired).await,
            Err(fault) => Err(fault),
        };
        match loaded {
            Ok(slots) => Ok(Ready { name, slots, hand_in: None, begun }),
            Err(fault) if self.serves(&plan.name) => {
                let is_told_the_same = before.is_some_and(|before| {
                    before.plans.contains(plan)
                        && before.loader.settings(&name) == setup.loader.settings(&name)
                });
                // What serves jobs must not be lost to a change of the configuration.
                if fault.blame() != Blame::Passing || !is_told_the_same {
                    return Err(fault);
                }
                tracing::warn!(handler = name, %fault, "what runs stays until that passes");
                let slots = self.stage.registry.slots(&name);
                let slots =
                    slots.map_or_else(|| follower.empty(&Desired::default()), |now| Slots::clone(&now));
                Ok(Ready { name, slots, hand_in: None, begun: Begun::Kept })
            }
            Err(fault) => {
                follower.lagging(None, &fault);
                let slots = follower.empty(&Desired::default());
                Ok(Ready { name, slots, hand_in: None, begun })
            }
        }
    }

    /// Loads a handler from its file. None when the file is what was taken from it last and something else may be wanted
    /// meanwhile: a version that an operator has gone back to stays, as long as the file is what it was.
    async fn ready_file(
        &self,
        follower: &mut Follower,
        path: &Path,
        file: Reading,
        setup: &Setup,
        desired: &Desired,
    ) -> Result<Option<Ready>, LoadError> {
        let name = &follower.name().to_owned();
        let refused = |reason, blame| LoadError::Refused { handler: name.clone(), reason, blame };
        let artifact = file.read().await?;
        let signature = signature_beside(name, path).await.map_err(|reason| refused(reason, Blame::Host))?;
        if self.stage.board.taken(name) == Some(artifact.digest) && desired.active.is_some() {
            return Ok(None);
        }
        let at = file::path_of(name, path);
        let named = |reason: String| format!("{}: {reason}", at.display());
        verify(&setup.trust, name, &artifact, signature.as_ref())
            .map_err(|reason| refused(named(reason), Blame::Host))?;
        let loaded = setup.loader.load(name, artifact.clone(), follower.haste(artifact.digest)).await;
        let made = loaded.map_err(|fault| refused(named(fault.reason()), fault.blame()))?;
        let mut slots = follower.empty(desired);
        slots.active = Some(Slot::plain(follower.loaded(made, artifact.digest)));
        let hand_in = Some((artifact, signature));
        Ok(Some(Ready { name: name.clone(), slots, hand_in, begun: Begun::Loaded }))
    }

    fn serves(&self, handler: &str) -> bool {
        self.stage.registry.slots(handler).is_some_and(|slots| slots.active.is_some())
    }

    fn follower(
        &self,
        plan: &Plan,
        setup: &Setup,
        catalogs: &Catalogs,
        news: &HashMap<String, Arc<Notify>>,
    ) -> Follower {
        let catalog = if plan.is_shared() { &catalogs.shared } else { &catalogs.local };
        let news = news.get(&plan.name).cloned().unwrap_or_default();
        let (loader, stage) = (Arc::clone(&setup.loader), Arc::clone(&self.stage));
        Follower::new(plan.clone(), Arc::clone(catalog), loader, stage, news)
    }

    /// Starts all that moves.
    fn follow(
        &self,
        setup: &Setup,
        catalogs: &Catalogs,
        news: &HashMap<String, Arc<Notify>>,
        begun: &HashMap<String, Begun>,
    ) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        if setup.plans.is_empty() {
            return tasks;
        }
        let registries = Arc::new(setup.registries.clone());
        let local = watch_folder(&mut tasks, &self.local);
        let is_any_shared = setup.plans.iter().any(Plan::is_shared);
        let shared = is_any_shared.then(|| watch_folder(&mut tasks, &self.shared));
        for plan in &setup.plans {
            let revisions = if plan.is_shared() { shared.clone() } else { Some(local.clone()) };
            let mut follower = self.follower(plan, setup, catalogs, news);
            match begun.get(&plan.name) {
                Some(Begun::Kept) => follower.renew(),
                Some(Begun::Vacant) if !self.serves(&plan.name) => follower.expect_news(),
                _ => {}
            }
            if let Some(revisions) = revisions {
                tasks.spawn(follower.run(revisions));
            }
            let deployer = Deployer {
                plan: plan.clone(),
                catalog: Arc::clone(&catalogs.local),
                documents: Arc::clone(&self.local),
                registries: Arc::clone(&registries),
                stage: Arc::clone(&self.stage),
            };
            tasks.spawn(deployer.run());
        }
        let judge = Judge {
            plans: setup.plans.clone(),
            catalogs: catalogs.clone(),
            documents: Arc::clone(&self.shared),
            stage: Arc::clone(&self.stage),
            clock: Arc::clone(&self.clock),
            host: self.host.clone(),
        };
        tasks.spawn(judge.run());
        tasks
    }
}

/// One for each handler; that of one which runs already goes on, as its versions tell it.
fn news(plans: &[Plan], running: Option<&Running>) -> HashMap<String, Arc<Notify>> {
    let known = |name: &String| running.and_then(|running| running.news.get(name)).cloned();
    plans.iter().map(|plan| (plan.name.clone(), known(&plan.name).unwrap_or_default())).collect()
}

/// Says when what is wanted of any handler may have changed.
fn watch_folder(tasks: &mut JoinSet<()>, documents: &Arc<dyn Documents>) -> watch::Receiver<u64> {
    let (sender, receiver) = watch::channel(0);
    let documents = Arc::clone(documents);
    tasks.spawn(async move {
        let mut seen = None;
        while !sender.is_closed() {
            match documents.changed(Folder::Handlers, seen, WAIT).await {
                Ok(revision) => {
                    if seen.replace(revision) != Some(revision) {
                        sender.send_replace(revision);
                    }
                }
                Err(fault) => {
                    tracing::debug!(%fault, "what is wanted of handlers cannot be watched; trying again");
                    sleep(AGAIN).await;
                }
            }
        }
    });
    receiver
}

#[cfg(test)]
mod tests;
