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

/// What a reload changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// The handler.
    pub handler: String,
    /// The version before.
    pub from: String,
    /// The version now.
    pub to: String,
}

/// The handlers of a host. Reading is wait-free; changing is one swap, so that a job sees the old version or the new
/// one and never a mix.
pub struct Registry {
    active: ArcSwap<HashMap<String, Active>>,
    routes: HashMap<QueueName, Routes>,
    /// One change at a time.
    changing: Mutex<()>,
}

impl Registry {
    /// With these routes and no handlers yet.
    #[must_use]
    pub fn new(routes: HashMap<QueueName, Routes>) -> Self {
        Self { active: ArcSwap::default(), routes, changing: Mutex::default() }
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
        let artifact = source.read(handler).await?;
        let digest = artifact.digest;
        let runner = loader.load(handler, artifact).await?;
        self.replace(handler.to_owned(), Active { runner, source: Some((source, digest)) });
        Ok(())
    }

    /// Reads every source again and activates what is new, each handler by itself: one that cannot be loaded keeps its
    /// version. Jobs that run finish on theirs.
    pub async fn reload(&self, loader: &dyn Loader) -> (Vec<Changed>, Vec<LoadError>) {
        let _changing = self.changing.lock().await;
        let (mut changes, mut faults) = (Vec::new(), Vec::new());
        let sources: Vec<(String, Active)> =
            self.active.load().iter().map(|(name, active)| (name.clone(), active.clone())).collect();
        for (handler, active) in sources {
            let Some((source, before)) = active.source else {
                continue;
            };
            match self.reload_one(loader, &handler, source, before).await {
                Ok(None) => {}
                Ok(Some(to)) => changes.push(Changed { handler, from: before.short(), to: to.short() }),
                Err(fault) => faults.push(fault),
            }
        }
        (changes, faults)
    }

    async fn reload_one(
        &self,
        loader: &dyn Loader,
        handler: &str,
        source: Source,
        before: Digest,
    ) -> Result<Option<Digest>, LoadError> {
        let artifact = source.read(handler).await?;
        let digest = artifact.digest;
        if digest == before {
            return Ok(None);
        }
        let runner = loader.load(handler, artifact).await?;
        self.replace(handler.to_owned(), Active { runner, source: Some((source, digest)) });
        Ok(Some(digest))
    }

    fn replace(&self, handler: String, active: Active) {
        let mut all = HashMap::clone(&self.active.load());
        all.insert(handler, active);
        self.active.store(Arc::new(all));
    }

    /// The active version of a handler.
    #[must_use]
    pub fn runner(&self, handler: &str) -> Option<Arc<dyn Runner>> {
        self.active.load().get(handler).map(|active| Arc::clone(&active.runner))
    }

    /// Every handler, by name.
    #[must_use]
    pub fn list(&self) -> Vec<HandlerState> {
        let all = self.active.load();
        let by_name: BTreeMap<_, _> = all.iter().collect();
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
        let all = self.active.load();
        let mut known: Vec<String> = all.keys().cloned().collect();
        known.sort();
        let mut dangling = Vec::new();
        for (queue, routes) in &self.routes {
            for (job_name, handler) in routes.iter().filter(|(_, handler)| !all.contains_key(*handler)) {
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
}

impl Router for Registry {
    fn route(&self, queue: &QueueName, job_name: &str) -> Route {
        let Some(routes) = self.routes.get(queue) else {
            return Route::Nobody(Routes::none().nobody(queue, job_name));
        };
        let Some(handler) = routes.handler(job_name) else {
            return Route::Nobody(routes.nobody(queue, job_name));
        };
        match self.active.load().get(handler) {
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
    async fn a_reload_swaps_what_is_new_and_keeps_what_is_bad() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.wasm");
        let registry = Registry::new(HashMap::from([(queue(), Routes::all("a"))]));
        std::fs::write(&file, "one").unwrap();
        registry.load(&Fake, "a", Source::File(file.clone())).await.unwrap();
        let one = version(registry.route(&queue(), "x"));

        assert!(registry.reload(&Fake).await.0.is_empty(), "nothing changed");

        std::fs::write(&file, "bad").unwrap();
        let (changes, faults) = registry.reload(&Fake).await;
        assert!(changes.is_empty() && faults.len() == 1);
        assert_eq!(version(registry.route(&queue(), "x")), one);

        std::fs::write(&file, "two").unwrap();
        let (changes, faults) = registry.reload(&Fake).await;
        assert!(faults.is_empty());
        assert_eq!(changes[0].from, one);
        assert_eq!(version(registry.route(&queue(), "x")), changes[0].to);
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
