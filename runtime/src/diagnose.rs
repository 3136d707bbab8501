//! `jobcell check` and `jobcell doctor`: everything that can be found out before it matters, all at once.

mod buckets;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jobcell_core::QueueName;
use jobcell_core::fleet::Fleet;
use jobcell_core::store::StoreHealth;
use jobcell_handlers::{Source, file};
use jobcell_wasm::{AdmitOptions, CompileCache, Engine, EngineReport, HandlerRunner, HandlerSpec};
use serde::Serialize;
use tokio::time::timeout;

use crate::config::{Config, Protocol};
use crate::configured;
use crate::explain::{Depth, Scope};
use crate::handler::Handler;
use crate::loader::without_name;
use crate::stores::OpenStore;

/// How long the store may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a look at the jobs of all queues may take.
const JOBS_PATIENCE: Duration = Duration::from_secs(20);

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at: `store`, `handler media`, …
    pub subject: String,
    /// How it is.
    pub verdict: Verdict,
    /// In a sentence; faults and warnings with the fix.
    pub message: String,
}

/// How something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// It works, and should be mended.
    Warning,
    /// It does not work.
    Fault,
}

/// What was found, and what it means for the exit code.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Findings {
    /// Everything, in order.
    pub findings: Vec<Finding>,
    /// The store cannot be reached.
    pub store_unreachable: bool,
    /// At least one handler is refused.
    pub handler_refused: bool,
    /// The configuration asks for what this version cannot do.
    pub unsupported: bool,
}

/// What this machine offers.
#[derive(Debug, Clone, Serialize)]
pub struct Environment {
    /// Jobcell's version.
    pub jobcell: &'static str,
    /// Wasmtime's version.
    pub wasmtime: &'static str,
    /// The operating system, its version and the architecture.
    pub system: String,
    /// Cores this process may use.
    pub cores: usize,
    /// How the engine runs here, or why not.
    pub engine: Result<EngineReport, String>,
}

// === impl Findings ===

impl Findings {
    fn push(&mut self, subject: impl Into<String>, verdict: Verdict, message: impl Into<String>) {
        self.findings.push(Finding { subject: subject.into(), verdict, message: message.into() });
    }

    fn push_unsupported(&mut self, subject: impl Into<String>, fault: String) {
        self.unsupported = true;
        self.push(subject, Verdict::Fault, fault);
    }

    /// The worst verdict.
    #[must_use]
    pub fn worst(&self) -> Verdict {
        self.findings.iter().map(|finding| finding.verdict).max().unwrap_or(Verdict::Ok)
    }
}

/// Reaches the store, looks at its policy, opens blob stores and admits every handler.
pub async fn check(config: &Config) -> Findings {
    let mut findings = Findings::default();
    for fault in configured::trust(config).err().into_iter().flatten() {
        findings.push_unsupported("trust", fault);
    }
    let open = check_store(config, &mut findings).await;
    for (name, blobs) in &config.blobs {
        let probed = async { blobs.open()?.probe().await };
        match timeout(PATIENCE, probed).await {
            Ok(Ok(())) => findings.push(format!("blobs {name}"), Verdict::Ok, "can be listed"),
            Ok(Err(fault)) => findings.push(format!("blobs {name}"), Verdict::Fault, fault.to_string()),
            Err(_) => findings.push(format!("blobs {name}"), Verdict::Fault, "did not answer within 10 s"),
        }
    }
    check_handlers(config, &mut findings).await;
    for queue in config.queues.values() {
        let mut told: Vec<String> =
            queue.handlers.iter().map(|(job, handler)| format!("{job} → {handler}")).collect();
        if let Protocol::List(list) = &queue.protocol {
            told.insert(0, format!("list {:?}, records {:?}", list.key, list.record));
        }
        findings.push(format!("queue {}", queue.name), Verdict::Ok, told.join(", "));
    }
    if let Some(open) = open {
        check_jobs(config, &open, &mut findings).await;
        open.store.close().await;
    }
    findings
}

/// Jobs that wait and do not run, in the queues of the configuration and in others that nobody may know of.
async fn check_jobs(config: &Config, open: &OpenStore, findings: &mut Findings) {
    let fleet = Fleet::new(Arc::clone(&open.documents));
    let looked = async {
        let scope = Scope::open(&*open.store, config, &open.prefix, &fleet).await;
        let mut queues: Vec<QueueName> = scope.configured().cloned().collect();
        queues.extend(scope.others_that_wait().await.unwrap_or_default());
        let mut found = Vec::new();
        for queue in queues {
            let explained = scope.explain(&queue, Depth::Deep).await;
            found.push((queue, explained));
        }
        found
    };
    let Ok(found) = timeout(JOBS_PATIENCE, looked).await else {
        let told = format!("could not be looked at within {} s: the store is slow", JOBS_PATIENCE.as_secs());
        findings.push("queues", Verdict::Warning, told);
        return;
    };
    for (queue, explained) in found {
        let subject = format!("queue {queue}");
        match explained {
            Err(fault) => findings.push(subject, Verdict::Warning, fault.to_string()),
            Ok(explained) => {
                let standing = explained.standing();
                for reason in explained.reasons {
                    let verdict = if reason.wrong { Verdict::Warning } else { Verdict::Ok };
                    findings.push(subject.as_str(), verdict, format!("{standing}: {}", reason.message));
                }
            }
        }
    }
}

/// Looks at the store, and leaves it open for further looks where it answers.
async fn check_store(config: &Config, findings: &mut Findings) -> Option<OpenStore> {
    if config.redis.is_none() && !config.embedded.path.exists() {
        let (verdict, message) = match unmade(&config.embedded.path) {
            Ok(message) => (Verdict::Ok, message),
            Err(fault) => {
                findings.store_unreachable = true;
                (Verdict::Fault, fault)
            }
        };
        findings.push("store", verdict, message);
        return None;
    }
    let opened = match configured::store_choice(config) {
        Ok(choice) => {
            let queues = config.queues.values().filter(|queue| matches!(queue.protocol, Protocol::BullMq));
            for fault in choice.check_queues(queues.map(|queue| &queue.name)).err().into_iter().flatten() {
                findings.push("store", Verdict::Fault, fault);
            }
            choice.open(configured::layout(config)).await.map_err(|fault| fault.to_string())
        }
        Err(fault) => Err(fault.to_string()),
    };
    let open: OpenStore = match opened {
        Ok(open) => open,
        Err(fault) => {
            findings.store_unreachable = true;
            findings.push("store", Verdict::Fault, fault);
            return None;
        }
    };
    match timeout(PATIENCE, open.store.health()).await {
        Ok(Ok(StoreHealth { kind, latency, faults, warnings })) => {
            findings.push(
                "store",
                Verdict::Ok,
                format!("{kind} answers in {:.2} ms", latency.as_secs_f64() * 1e3),
            );
            for fault in faults {
                findings.push("store", Verdict::Fault, fault);
            }
            for warning in warnings {
                findings.push("store", Verdict::Warning, warning);
            }
            if timeout(PATIENCE, buckets::check(config, &open, findings)).await.is_err() {
                findings.push("buckets", Verdict::Fault, "the store did not answer within 10 s");
            }
            return Some(open);
        }
        Ok(Err(fault)) => {
            findings.store_unreachable = true;
            findings.push("store", Verdict::Fault, fault.to_string());
        }
        Err(_) => {
            findings.store_unreachable = true;
            let address = config.redis.as_ref().map(|redis| format!(" at {}", redis.url)).unwrap_or_default();
            findings.push(
                "store",
                Verdict::Fault,
                format!(
                    "the store{address} did not answer within 10 s: it hangs, or is busy with something else"
                ),
            );
        }
    }
    open.store.close().await;
    None
}

/// About an embedded store that nobody has made yet. To look must leave nothing behind.
fn unmade(directory: &Path) -> Result<String, String> {
    let shown = directory.display();
    let absolute = std::path::absolute(directory).unwrap_or_else(|_| directory.to_owned());
    let above = absolute.ancestors().skip(1).find(|path| path.exists()).unwrap_or(Path::new("/"));
    let needed = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
    match rustix::fs::access(above, needed) {
        Ok(()) if above.is_dir() => {
            Ok(format!("embedded: {shown} does not exist yet and will be created at the first run"))
        }
        Ok(()) => Err(format!(
            "the embedded store cannot create {shown}: {} is no directory; correct embedded.path",
            above.display()
        )),
        Err(cause) => Err(format!(
            "the embedded store cannot create {shown} in {}: {cause}; make it writable for this user",
            above.display()
        )),
    }
}

async fn check_handlers(config: &Config, findings: &mut Findings) {
    let engine = match Engine::new(configured::engine(config)) {
        Ok(engine) => engine,
        Err(fault) => {
            findings.push("engine", Verdict::Fault, fault.to_string());
            return;
        }
    };
    // A cache that is not there yet is left to the first run: to look must leave nothing behind.
    let opened = config.cells.cache.exists().then(|| CompileCache::open(&config.cells.cache)).transpose();
    let cache = match opened {
        Ok(cache) => cache,
        Err(fault) => {
            findings.push("cells.cache", Verdict::Fault, fault.to_string());
            None
        }
    };
    for handler in config.handlers.values() {
        let subject = format!("handler {}", handler.name);
        match check_handler(config, &engine, cache.clone(), configured::handler(handler)).await {
            Ok(message) => findings.push(subject, Verdict::Ok, message),
            Err(fault) => {
                findings.handler_refused = true;
                findings.push(subject, Verdict::Fault, without_name(&handler.name, &fault));
            }
        }
    }
}

async fn check_handler(
    config: &Config,
    engine: &Engine,
    cache: Option<CompileCache>,
    handler: Handler,
) -> Result<String, String> {
    let Handler { name, source, limits, grants, .. } = handler;
    let Source::File(path) = &source else {
        // What will run is what is deployed by then; every host checks that before it takes a job.
        return Ok(format!("from {source}: admitted when it is taken from there"));
    };
    let artifact = file::read(&name, path).await.map_err(|fault| fault.to_string())?;
    let stack = limits.stack;
    let options = AdmitOptions { cache, stack, ..AdmitOptions::new(&name, grants.clone()) };
    let admitted = engine.admit(artifact.bytes, options).await.map_err(|fault| fault.to_string())?;
    let services = configured::services(config, &grants).map_err(|fault| fault.to_string())?;
    let spec = HandlerSpec { name, limits, grants };
    HandlerRunner::new(engine, &admitted, spec, services).map_err(|fault| fault.to_string())?;
    let size = admitted.description().size as f64 / 1024.0;
    let own = if stack as u64 == config.cells.stack {
        String::new()
    } else {
        format!(" · stack {} KiB", stack.div_ceil(1024))
    };
    Ok(format!("{} · {size:.0} KiB{own} · admitted", admitted.version()))
}

/// What this machine offers.
#[must_use]
pub fn environment(config: &Config) -> Environment {
    let system = rustix::system::uname();
    Environment {
        jobcell: env!("CARGO_PKG_VERSION"),
        wasmtime: jobcell_wasm::WASMTIME_VERSION,
        system: format!(
            "{} {} {}",
            system.sysname().to_string_lossy(),
            system.release().to_string_lossy(),
            system.machine().to_string_lossy()
        ),
        cores: std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get),
        engine: Engine::new(configured::engine(config))
            .map(|engine| engine.report().clone())
            .map_err(|fault| fault.to_string()),
    }
}
