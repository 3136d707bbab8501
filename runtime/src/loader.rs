//! Loads Wasm handlers for the registry: admits them against their grants, compiles, links and warms them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use jobcell_core::attempt::LogLimits;
use jobcell_core::results::{Results, Shelf};
use jobcell_core::{Attempt, Report, Runner, StopCause};
use jobcell_handlers::{Artifact, Blame, Haste, LoadError, Loader, Made, Manifest, Wants};
use jobcell_wasm::{
    AdmitError, AdmitOptions, Admitted, CompileBound, CompileCache, Engine, HandlerRunner, HandlerSpec, Need,
    OptimiseError, Optimiser, Services, Tier,
};

use tokio::sync::{Semaphore, oneshot};

use crate::handler::Handler;
use crate::narrowing::narrowed;

/// How often an admission is tried that breaks off by no fault of the artifact.
const TRIES: u32 = 3;
/// Between two tries.
const AGAIN: Duration = Duration::from_millis(200);
/// The longest pause before optimised code is tried again.
const AGAIN_MAX: Duration = Duration::from_secs(60);
/// How often optimised code is tried where a busy machine fails like an artifact that one of the two compilers cannot take,
/// which is not to run on the other's code for ever.
const OPTIMISE_TRIES: u32 = 6;
/// How often it is tried where the machine is short of something, an hour long: that may be so whenever it is this artifact's
/// turn.
const OPTIMISE_TRIES_IN_ALL: u32 = 60;

/// Loads versions of the handlers it knows.
pub(crate) struct WasmLoader {
    engine: Engine,
    cache: Option<CompileCache>,
    services: Services,
    handlers: HashMap<String, Handler>,
    /// Whose optimised code is made.
    optimising: Arc<Semaphore>,
}

impl WasmLoader {
    pub(crate) fn new(
        engine: Engine,
        cache: Option<CompileCache>,
        services: Services,
        handlers: Vec<Handler>,
    ) -> Self {
        let handlers = handlers.into_iter().map(|handler| (handler.name.clone(), handler)).collect();
        Self { engine, cache, services, handlers, optimising: Arc::new(Semaphore::new(1)) }
    }

    /// Where results are kept; nowhere without a store, as for `jobcell invoke`.
    fn shelf(&self) -> Option<Shelf> {
        let Services { cache, clock, observer, .. } = &self.services;
        let (clock, observer) = (Arc::clone(clock), Arc::clone(observer));
        cache.clone().map(|cache| Shelf { cache, clock, observer })
    }

    /// Admits, once more where what failed is no fault of the artifact: somebody killed its compiler.
    async fn admit(&self, name: &str, bytes: Bytes, options: AdmitOptions) -> Result<Admitted, AdmitError> {
        for _ in 1..TRIES {
            match self.engine.admit(bytes.clone(), options.clone()).await {
                Err(fault) if fault.is_transient() => {
                    tracing::warn!(handler = name, %fault, "admission broke off; trying again");
                    tokio::time::sleep(AGAIN).await;
                }
                ended => return ended,
            }
        }
        self.engine.admit(bytes, options).await
    }
}

#[async_trait]
impl Loader for WasmLoader {
    async fn load(&self, name: &str, artifact: Artifact, haste: Haste) -> Result<Made, LoadError> {
        let refused = |reason: String, blame| LoadError::Refused {
            handler: name.to_owned(),
            reason: without_name(name, &reason),
            blame,
        };
        let Some(Handler { limits, grants, names, result_cache, .. }) = self.handlers.get(name).cloned()
        else {
            return Err(refused(format!("it is not configured; add [handlers.{name}]"), Blame::Host));
        };
        let manifest = Manifest::read(&artifact.bytes);
        // A component that does not say what it wants, wants everything that it imports.
        let wants = manifest.as_ref().ok().and_then(|manifest| manifest.as_ref()?.wants.clone());
        let grants = match &wants {
            Some(wants) => narrowed(&grants, wants).map_err(|fault| refused(fault, Blame::Host))?,
            None => grants,
        };
        let spec = HandlerSpec { name: name.to_owned(), limits, grants };
        let (cache, stack) = (self.cache.clone(), spec.limits.stack);
        let mut options = AdmitOptions {
            cache,
            stack,
            baseline: haste == Haste::Now,
            ..AdmitOptions::new(name, spec.grants.clone())
        };
        let mut read = Some(manifest);
        let runner = loop {
            let admitted = self.admit(name, artifact.bytes.clone(), options.clone()).await;
            let admitted = admitted.map_err(|fault| {
                let unwanted = wants.as_ref().and_then(|wants| unwanted(&fault, wants));
                refused(unwanted.unwrap_or_else(|| fault.to_string()), blame(&fault))
            })?;
            // Only now: of what is no component at all, admission tells more.
            read.take().transpose().map_err(|fault| refused(fault.to_string(), Blame::Bytes))?;
            let runner = HandlerRunner::new(&self.engine, &admitted, spec.clone(), self.services.clone())
                .map_err(|fault| refused(fault.to_string(), Blame::Host))?;
            match runner.warm().await {
                Ok(()) => break runner,
                // What is slower, or wrong, in the code of that compiler says nothing about the version.
                Err(_) if runner.tier() == Tier::Baseline => options.baseline = false,
                Err(stopped) => {
                    let reason =
                        format!("it breaks before its first job, while its cell is made: {}", stopped.reason);
                    return Err(refused(reason, blame_of_start(stopped.cause)));
                }
            }
        };
        let verdict = (runner.tier() == Tier::Baseline).then(|| {
            let (judge, verdict) = oneshot::channel();
            let (optimiser, version) = (runner.optimiser(), Runner::version(&runner).to_owned());
            let (bytes, turn) = (artifact.bytes, Arc::clone(&self.optimising));
            tokio::spawn(optimise(optimiser, version, bytes, options, turn, judge));
            verdict
        });
        let runner: Arc<dyn Runner> =
            if names.is_empty() { Arc::new(runner) } else { Arc::new(Renaming { inner: runner, names }) };
        let runner = match result_cache.zip(self.shelf()) {
            Some((rule, shelf)) => Arc::new(Results::new(runner, artifact.digest.to_string(), rule, shelf)),
            None => runner,
        };
        Ok(Made { runner, verdict })
    }

    fn settings(&self, name: &str) -> String {
        self.handlers.get(name).map(|handler| format!("{handler:?}")).unwrap_or_default()
    }
}

/// Brings a version that began on baseline code onto optimised code. One after the other, so that versions which jobs wait for
/// find room to be compiled; and again where what fails may pass. What there is no optimised code for would have
/// been refused at once without baseline code: it is refused now.
async fn optimise(
    optimiser: Optimiser,
    version: String,
    bytes: Bytes,
    options: AdmitOptions,
    turn: Arc<Semaphore>,
    judge: oneshot::Sender<Result<(), LoadError>>,
) {
    let (handler, since) = (options.handler.clone(), Instant::now());
    tracing::info!(handler, version, "begins on baseline code; optimised code follows");
    let (mut failed, mut pause) = (0, AGAIN);
    for tries in 1.. {
        let turn = tokio::select! {
            turn = turn.acquire() => turn,
            () = optimiser.gone() => return,
        };
        let ended = optimiser.optimise(bytes.clone(), options.clone()).await;
        drop(turn);
        match ended {
            Ok(true) => {
                let after_ms = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
                tracing::info!(handler, version, after_ms, "goes on with optimised code");
                _ = judge.send(Ok(()));
                return;
            }
            Ok(false) => return,
            Err(fault) => {
                failed += u32::from(may_be_the_artifact(&fault));
                if let Some(refused) = refused_after(failed, tries, &handler, &fault) {
                    // Nobody hears it where the version is gone, which is as well.
                    _ = judge.send(Err(refused));
                    return;
                }
                tracing::warn!(handler, version, %fault, "still on baseline code; trying again");
            }
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = optimiser.gone() => return,
        }
        pause = (pause * 2).min(AGAIN_MAX);
    }
}

/// Whether what may be nobody's fault may be the artifact's as well. What ends a compiler from outside, or keeps it from
/// being started, is not.
fn may_be_the_artifact(fault: &OptimiseError) -> bool {
    match fault {
        OptimiseError::Admit(AdmitError::Pool { .. }) => false,
        OptimiseError::Admit(fault) => !fault.is_transient(),
        OptimiseError::Broken(stopped) => stopped.cause != StopCause::Host,
        OptimiseError::Handler(_) | OptimiseError::Another(_) => true,
    }
}

/// What is said of a version whose optimised code was tried so often, failed so often as it may by its own fault, and in this
/// way at last. None while that may pass.
fn refused_after(failed: u32, tries: u32, handler: &str, fault: &OptimiseError) -> Option<LoadError> {
    let reason = without_name(handler, &fault.to_string());
    let (reason, blame) = match blame_of_optimising(fault) {
        Blame::Passing if failed < OPTIMISE_TRIES && tries < OPTIMISE_TRIES_IN_ALL => return None,
        Blame::Passing => {
            let reason = format!(
                "it began on baseline code, and its optimised code could not be made in {tries} tries: {reason}. \
                 Once that is mended, reload the host (SIGHUP) and deploy the version again"
            );
            (reason, Blame::Host)
        }
        blame => (format!("it began on baseline code, and has no optimised code: {reason}"), blame),
    };
    Some(LoadError::Refused { handler: handler.to_owned(), reason, blame })
}

/// Why no grant would help a version: it imports what its own manifest does not want.
fn unwanted(fault: &AdmitError, wants: &Wants) -> Option<String> {
    let AdmitError::NotGranted { needs, .. } = fault else { return None };
    let is_wanted = |need: &Need| match need {
        Need::Http => !wants.http.is_empty(),
        Need::Blobs => !wants.blobs.is_empty(),
        Need::Cache => wants.cache,
        Need::Kv => !wants.kv.is_empty(),
        Need::Enqueue => !wants.enqueue.is_empty(),
        Need::Publish => !wants.publish.is_empty(),
        Need::Secrets => !wants.secrets.is_empty(),
    };
    let keys: Vec<&str> = needs.iter().filter(|need| !is_wanted(need)).map(|need| need.key()).collect();
    (!keys.is_empty()).then(|| {
        format!(
            "it imports what its own manifest does not want: {}. Add that there (`wants(…)` in its \
             plugin!, or [package.metadata.jobcell.wants] in its Cargo.toml), and build it again",
            keys.join(", ")
        )
    })
}

/// Whose fault it is that an artifact is not admitted.
fn blame(fault: &AdmitError) -> Blame {
    match fault {
        AdmitError::Precompiled
        | AdmitError::CoreModule
        | AdmitError::NotWasm { .. }
        | AdmitError::Malformed { .. }
        | AdmitError::OtherWorld { .. } => Blame::Bytes,
        // The compiler process does not start, or was killed: the machine is short of something.
        AdmitError::Compiler { .. } => Blame::Passing,
        // It comes behind the jobs: a machine that is busy enough leaves it less processor time than it may use.
        AdmitError::CompileBound { bound: CompileBound::Wall(_) } => Blame::Passing,
        fault if fault.is_transient() => Blame::Passing,
        // Another host may have other limits, other grants, or be of a newer version.
        _ => Blame::Host,
    }
}

/// Whose fault it is that a version has no optimised code.
fn blame_of_optimising(fault: &OptimiseError) -> Blame {
    match fault {
        // Others may give their room back.
        OptimiseError::Admit(AdmitError::Pool { .. }) => Blame::Passing,
        OptimiseError::Admit(fault) => blame(fault),
        // It was made in time on slower code: the machine is busy.
        OptimiseError::Broken(stopped) if stopped.cause == StopCause::Deadline => Blame::Passing,
        OptimiseError::Broken(stopped) => blame_of_start(stopped.cause),
        OptimiseError::Handler(_) | OptimiseError::Another(_) => Blame::Host,
    }
}

/// Whose fault it is that a first cell cannot be made. What breaks a bound may keep to a larger one elsewhere.
fn blame_of_start(cause: StopCause) -> Blame {
    match cause {
        StopCause::Trap | StopCause::Panic | StopCause::Abi => Blame::Bytes,
        StopCause::Host => Blame::Passing,
        _ => Blame::Host,
    }
}

/// A reason to go behind the handler's name, which some reasons begin with.
pub(crate) fn without_name(name: &str, reason: &str) -> String {
    match reason.strip_prefix(&format!("handler {name:?}")) {
        Some(rest) => rest.strip_prefix(": ").map_or_else(|| format!("it{rest}"), str::to_owned),
        None => reason.to_owned(),
    }
}

/// Gives a handler its jobs under other names than the producer's.
struct Renaming {
    inner: HandlerRunner,
    names: BTreeMap<String, String>,
}

#[async_trait]
impl Runner for Renaming {
    fn handler(&self) -> &str {
        self.inner.handler()
    }

    fn version(&self) -> &str {
        self.inner.version()
    }

    fn deadline(&self) -> Duration {
        self.inner.deadline()
    }

    fn log_limits(&self) -> LogLimits {
        self.inner.log_limits()
    }

    fn plays(&self) -> bool {
        self.inner.plays()
    }

    async fn run(&self, mut attempt: Attempt) -> Report {
        if let Some(name) = self.names.get(&attempt.job.name) {
            Arc::make_mut(&mut attempt.job).name.clone_from(name);
        }
        self.inner.run(attempt).await
    }
}

#[cfg(test)]
mod tests {
    use jobcell_wasm::WasmError;

    use super::*;

    #[test]
    fn no_version_stays_on_baseline_code_for_want_of_a_verdict() {
        let crashed = || AdmitError::Compiler { cause: "it crashed with signal 11".to_owned() };
        let late = || AdmitError::CompileBound { bound: CompileBound::Wall(Duration::from_secs(30)) };
        for fault in [crashed(), late()] {
            let fault = OptimiseError::Admit(fault);
            assert!(may_be_the_artifact(&fault));
            assert!(
                (1..OPTIMISE_TRIES).all(|failed| refused_after(failed, failed, "a", &fault).is_none()),
                "it may pass"
            );
            let refused = refused_after(OPTIMISE_TRIES, 6, "a", &fault).unwrap();
            assert_eq!(refused.blame(), Blame::Host, "what was made elsewhere may run there");
            assert!(
                refused.reason().contains("in 6 tries") && refused.reason().contains("SIGHUP"),
                "{refused}"
            );
        }
        for fault in
            [AdmitError::CompilerKilled { signal: 9 }, AdmitError::Interrupted("no memory".to_owned())]
        {
            let fault = OptimiseError::Admit(fault);
            assert!(!may_be_the_artifact(&fault) && refused_after(0, 59, "a", &fault).is_none(), "{fault}");
            assert!(refused_after(0, OPTIMISE_TRIES_IN_ALL, "a", &fault).is_some(), "not for ever");
        }
        let refused = refused_after(1, 1, "a", &OptimiseError::Another("b".to_owned())).unwrap();
        assert!(refused.reason().starts_with("it began on baseline code, and has no"), "{refused}");
    }

    #[test]
    fn a_refusal_names_its_handler_once() {
        let told = |reason: String| {
            let reason = without_name("a", &reason);
            LoadError::Refused { handler: "a".to_owned(), reason, blame: Blame::Host }.to_string()
        };
        let ungranted = AdmitError::NotGranted {
            handler: "a".to_owned(),
            imports: vec!["jobcell:job/cache".to_owned()],
            needs: vec![Need::Cache],
            toml: "cache = true".to_owned(),
        };
        let told_ungranted = told(ungranted.to_string());
        assert!(told_ungranted.starts_with("handler \"a\" is refused: it imports"), "{told_ungranted}");
        let wants = |cache, kv: &[&str]| Wants {
            cache,
            kv: kv.iter().copied().map(str::to_owned).collect(),
            ..Wants::default()
        };
        let why = unwanted(&ungranted, &wants(false, &["a"])).unwrap();
        assert!(why.contains("does not want: cache. Add that there"), "{why}");
        assert_eq!(unwanted(&ungranted, &wants(true, &[])), None, "a grant is what it lacks");
        let faulty =
            WasmError::Handler { handler: "a".to_owned(), faults: vec!["no store \"b\"".to_owned()] };
        assert_eq!(told(faulty.to_string()), "handler \"a\" is refused: no store \"b\"");
        assert_eq!(told("it is empty".to_owned()), "handler \"a\" is refused: it is empty");
    }
}
