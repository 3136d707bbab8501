//! The active version of every handler, and the router over them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use jobcell_core::{QueueName, Route, Router, Runner};
use tokio::sync::Mutex;

use crate::artifact::{Artifact, ArtifactError, Digest, Source};
use crate::routes::{Routes, UnknownHandler};

/// Turns an artifact into something that runs: admits, compiles and links it.
#[async_trait]
pub trait Loader: Send + Sync + 'static {
    /// Loads this version of this handler.
    ///
    /// # Errors
    /// When it is refused; nothing of it stays behind.
    async fn load(&self, handler: &str, artifact: Artifact) -> Result<Arc<dyn Runner>, LoadError>;
}

/// A handler's version cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Its bytes cannot be had.
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    /// It is refused; the text names the handler, the reason and the fix.
    #[error("handler {handler:?} is refused: {reason}")]
    Refused {
        /// The handler.
        handler: String,
        /// Why.
        reason: String,
    },
}

/// What is active under a name.
#[derive(Clone)]
struct Active {
    runner: Arc<dyn Runner>,
    /// None for a native handler.
    source: Option<(Source, Digest)>,
}

/// What a listing shows of a handler.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct HandlerState {
    /// Its name.
    pub name: String,
    /// The active version: 12 hex digits, or `native`.
    pub version: String,
    /// The whole digest; none for a native handler.
    pub digest: Option<String>,
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

/// Handlers and the routes to them: together, because a route must never be seen without its handler.
#[derive(Clone, Default)]
struct Set {
    active: HashMap<String, Active>,
    routes: HashMap<QueueName, Routes>,
}

/// The handlers of a host. Reading is wait-free; changing is one swap, so that a job sees the old version or the new
/// one and never a mix.
pub struct Registry {
    set: ArcSwap<Set>,
    /// One change at a time.
    changing: Mutex<()>,
}

impl Registry {
    /// With these routes and no handlers yet.
    #[must_use]
    pub fn new(routes: HashMap<QueueName, Routes>) -> Self {
        Self {
            set: ArcSwap::from_pointee(Set { active: HashMap::new(), routes }),
            changing: Mutex::default(),
        }
    }

    /// Registers a runner that needs no loading, as the embedding program brings it.
    pub async fn insert_native(&self, runner: Arc<dyn Runner>) {
        let _changing = self.changing.lock().await;
        self.replace(runner.handler().to_owned(), Active { runner, source: None });
    }

    /// Loads the handler from its source and makes it active.
    ///
    /// # Errors
    /// When it cannot be read or is refused; what was active before stays.
    pub async fn load(&self, loader: &dyn Loader, handler: &str, source: Source) -> Result<(), LoadError> {
        let _changing = self.changing.lock().await;
        let active = load_one(loader, handler, source).await?;
        self.replace(handler.to_owned(), active);
        Ok(())
    }

    /// Puts another set of handlers and routes in place of this one: native handlers stay, the given sources are read
    /// and loaded anew, everything else goes. All or nothing; jobs that run finish on the version they started with.
    ///
    /// # Errors
    /// Every handler that cannot be loaded, or every route that would lead nowhere. What was active stays.
    pub async fn change(
        &self,
        loader: &dyn Loader,
        sources: Vec<(String, Source)>,
        routes: HashMap<QueueName, Routes>,
    ) -> Result<Vec<Changed>, ChangeError> {
        let _changing = self.changing.lock().await;
        let before = self.set.load_full();
        let mut after: HashMap<String, Active> = before
            .active
            .iter()
            .filter(|(_, active)| active.source.is_none())
            .map(|(name, active)| (name.clone(), active.clone()))
            .collect();
        let mut faults = Vec::new();
        for (handler, source) in sources {
            match load_one(loader, &handler, source).await {
                Ok(active) => drop(after.insert(handler, active)),
                Err(fault) => faults.push(fault),
            }
        }
        if !faults.is_empty() {
            return Err(ChangeError::Handlers(faults));
        }
        let dangling = dangling(&routes, &after);
        if !dangling.is_empty() {
            return Err(ChangeError::Routes(dangling));
        }
        let changes = changes(&before.active, &after);
        self.set.store(Arc::new(Set { active: after, routes }));
        Ok(changes)
    }

    fn replace(&self, handler: String, active: Active) {
        let mut set = Set::clone(&self.set.load());
        set.active.insert(handler, active);
        self.set.store(Arc::new(set));
    }

    /// The active version of a handler.
    #[must_use]
    pub fn runner(&self, handler: &str) -> Option<Arc<dyn Runner>> {
        self.set.load().active.get(handler).map(|active| Arc::clone(&active.runner))
    }

    /// Every handler, by name.
    #[must_use]
    pub fn list(&self) -> Vec<HandlerState> {
        let set = self.set.load();
        let by_name: BTreeMap<_, _> = set.active.iter().collect();
        by_name
            .into_iter()
            .map(|(name, active)| HandlerState {
                name: name.clone(),
                version: active.runner.version().to_owned(),
                digest: active.source.as_ref().map(|(_, digest)| digest.to_string()),
            })
            .collect()
    }

    /// Routes that lead nowhere.
    #[must_use]
    pub fn dangling(&self) -> Vec<UnknownHandler> {
        let set = self.set.load();
        dangling(&set.routes, &set.active)
    }
}

async fn load_one(loader: &dyn Loader, handler: &str, source: Source) -> Result<Active, LoadError> {
    let artifact = source.read(handler).await?;
    let digest = artifact.digest;
    let runner = loader.load(handler, artifact).await?;
    Ok(Active { runner, source: Some((source, digest)) })
}

fn dangling(routes: &HashMap<QueueName, Routes>, active: &HashMap<String, Active>) -> Vec<UnknownHandler> {
    let mut known: Vec<String> = active.keys().cloned().collect();
    known.sort();
    let mut dangling = Vec::new();
    for (queue, routes) in routes {
        for (job_name, handler) in routes.iter().filter(|(_, handler)| !active.contains_key(*handler)) {
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
fn changes(before: &HashMap<String, Active>, after: &HashMap<String, Active>) -> Vec<Changed> {
    let version =
        |set: &HashMap<String, Active>, name: &str| set.get(name).map(|a| a.runner.version().to_owned());
    let names: std::collections::BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    names
        .into_iter()
        .map(|name| Changed { handler: name.clone(), from: version(before, name), to: version(after, name) })
        .filter(|changed| changed.from != changed.to)
        .collect()
}

impl Router for Registry {
    fn route(&self, queue: &QueueName, job_name: &str) -> Route {
        let set = self.set.load();
        let Some(routes) = set.routes.get(queue) else {
            return Route::Nobody(Routes::none().nobody(queue, job_name));
        };
        let Some(handler) = routes.handler(job_name) else {
            return Route::Nobody(routes.nobody(queue, job_name));
        };
        match set.active.get(handler) {
            Some(active) => Route::To(Arc::clone(&active.runner)),
            None => Route::Nobody(format!(
                "jobs named {job_name:?} in queue {queue:?} go to handler {handler:?}, which is not loaded on this host"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jobcell_core::{Attempt, Outcome, Receipt, Report};

    use super::*;

    struct Named(String, String);

    #[async_trait]
    impl Runner for Named {
        fn handler(&self) -> &str {
            &self.0
        }
        fn version(&self) -> &str {
            &self.1
        }
        fn deadline(&self) -> Duration {
            Duration::from_secs(1)
        }
        async fn run(&self, _: Attempt) -> Report {
            Report { outcome: Outcome::Requeue, receipt: Receipt::default() }
        }
    }

    /// Refuses artifacts that start with `bad`.
    struct Fake;

    #[async_trait]
    impl Loader for Fake {
        async fn load(&self, handler: &str, artifact: Artifact) -> Result<Arc<dyn Runner>, LoadError> {
            if artifact.bytes.starts_with(b"bad") {
                return Err(LoadError::Refused { handler: handler.to_owned(), reason: "bad".to_owned() });
            }
            Ok(Arc::new(Named(handler.to_owned(), artifact.digest.short())))
        }
    }

    fn queue() -> QueueName {
        QueueName::new("q").unwrap()
    }

    fn version(route: Route) -> String {
        match route {
            Route::To(runner) => runner.version().to_owned(),
            Route::Nobody(text) => panic!("{text}"),
            Route::Later(_) => panic!("later"),
        }
    }

    #[tokio::test]
    async fn a_change_is_made_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let (file, other) = (dir.path().join("a.wasm"), dir.path().join("b.wasm"));
        let routes = || HashMap::from([(queue(), Routes::all("a"))]);
        let registry = Registry::new(routes());
        std::fs::write(&file, "one").unwrap();
        std::fs::write(&other, "bad").unwrap();
        registry.load(&Fake, "a", Source::File(file.clone())).await.unwrap();
        let one = version(registry.route(&queue(), "x"));
        let a = || ("a".to_owned(), Source::File(file.clone()));

        assert_eq!(registry.change(&Fake, vec![a()], routes()).await.unwrap(), [], "nothing changed");

        std::fs::write(&file, "two").unwrap();
        let both = vec![a(), ("b".to_owned(), Source::File(other.clone()))];
        let fault = registry.change(&Fake, both, routes()).await.unwrap_err();
        assert!(fault.to_string().contains("\"b\" is refused"), "{fault}");
        assert_eq!(version(registry.route(&queue(), "x")), one, "one bad handler keeps all");

        let nowhere = HashMap::from([(queue(), Routes::all("c"))]);
        assert!(matches!(registry.change(&Fake, vec![a()], nowhere).await, Err(ChangeError::Routes(_))));
        assert_eq!(version(registry.route(&queue(), "x")), one);

        let changes = registry.change(&Fake, vec![a()], routes()).await.unwrap();
        assert_eq!(changes[0].from, Some(one));
        assert_eq!(Some(version(registry.route(&queue(), "x"))), changes[0].to);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn no_job_is_told_that_nobody_takes_it_while_the_set_changes() {
        let dir = tempfile::tempdir().unwrap();
        let source = |name: &str| {
            let file = dir.path().join(name);
            std::fs::write(&file, name).unwrap();
            vec![(name.to_owned(), Source::File(file))]
        };
        let routes = |name: &str| HashMap::from([(queue(), Routes::all(name))]);
        let registry = Arc::new(Registry::new(routes("a")));
        registry.change(&Fake, source("a"), routes("a")).await.unwrap();
        let (done, reader) = (Arc::new(std::sync::atomic::AtomicBool::new(false)), Arc::clone(&registry));
        let stop = Arc::clone(&done);
        let reading = tokio::task::spawn_blocking(move || {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                version(reader.route(&queue(), "x"));
            }
        });
        for i in 0..500 {
            let name = ["a", "b"][i % 2];
            registry.change(&Fake, source(name), routes(name)).await.unwrap();
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        reading.await.unwrap();
    }

    #[tokio::test]
    async fn a_route_to_nowhere_is_reported_and_answered() {
        let registry = Registry::new(HashMap::from([(queue(), Routes::none().with("x", "a"))]));
        registry.insert_native(Arc::new(Named("b".into(), "native".into()))).await;
        assert_eq!(registry.dangling()[0].known, ["b"]);
        assert!(matches!(registry.route(&queue(), "x"), Route::Nobody(text) if text.contains("not loaded")));
        assert!(matches!(registry.route(&queue(), "y"), Route::Nobody(text) if text.contains("\"x\"")));
    }
}
