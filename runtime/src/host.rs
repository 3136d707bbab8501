//! `jobcell run`: a runtime with its HTTP side, steered by signals.

mod asked;
mod awaiting;
mod condition;
mod portrait;
mod signals;
mod stuck;
mod supervisor;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use jobcell_core::fleet::{Fleet, HostStatus};
use jobcell_core::{QueueName, SystemClock};
use jobcell_handlers::Changed;
use jobcell_server::{
    Act, Api, Audit, DashboardOptions, Metrics, Pages, Reloaded, Role, Server, ServerError, Token, Tokens,
    Via,
};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::task::AbortOnDropHandle;

use crate::builder::{Builder, StartError};
use crate::config::{Config, ConfigError, Environment, TokenConfig};
use crate::explain::Explainer;
use crate::fleet::local::Announced;
use crate::fleet::{self, Member, Portrait};
use crate::runtime::{Runtime, Shutdown};
use crate::spool::{Spool, SpoolFault};
pub use crate::telemetry::TelemetryError;
use crate::telemetry::{Traces, Voices};
use crate::versions::Versions;
use asked::Steering;
pub(crate) use asked::{Ask, Asked};
use awaiting::Awaited;
use condition::Condition;
use portrait::HostPortrait;
use signals::Signals;
use supervisor::{Supervisor, Vitals};

/// What `run` is told besides the configuration.
pub struct RunOptions<'a> {
    /// End when every queue has nothing waiting, delayed or running.
    pub burst: bool,
    /// What the process was started with: who supervises it.
    pub environment: &'a Environment,
    /// Reads the configuration again, when HUP asks for it.
    pub reread: &'a (dyn Fn() -> Result<Config, ConfigError> + Sync),
}

/// Requests to the host that may wait for their turn.
const ASKS_MAX: usize = 16;

/// Why a host does not run.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// It does not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// It cannot listen.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// Traces cannot be collected.
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    /// Its spool cannot be used.
    #[error(transparent)]
    Spool(#[from] SpoolFault),
    /// It cannot listen to signals.
    #[error("signals cannot be listened to: {0}")]
    Signals(std::io::Error),
}

/// Runs a host until it is told to stop, or in burst mode until there is nothing left to do.
///
/// # Errors
/// When it does not start. What goes wrong later is retried, logged and shown by the health page.
pub async fn run(config: &Config, options: RunOptions<'_>) -> Result<Shutdown, HostError> {
    // First of all, so that a signal during the start is not lost.
    let mut signals = Signals::listen().map_err(HostError::Signals)?;
    // Before any job runs: a host that cannot listen must not have done half its work.
    let server = Server::bind(config.server.listen).await?.with_connections(config.server.connections);
    let address = server.local_addr();
    let metrics = Arc::new(Metrics::new());
    let traces = config.telemetry.traces.as_ref().map(|traces| Traces::start(traces, &address.to_string()));
    let traces = traces.transpose()?;
    let voices = Voices { metrics: Arc::clone(&metrics), tracer: traces.as_ref().map(Traces::tracer) };
    let supervisor = Supervisor::of(options.environment);
    if let Some(redis) = config.redis.as_ref().filter(|_| !options.burst)
        && awaiting::store(redis, (&server, &metrics), &mut signals, &supervisor).await? == Awaited::Stopped
    {
        return Ok(Shutdown { given_back: 0, abandoned: 0 });
    }
    let builder = Builder::configured(config)?.observer(Arc::new(voices)).burst(options.burst);
    let queues = builder.queue_names();
    let worked = builder.concurrencies();
    queues.iter().for_each(|queue| metrics.announce(queue));
    let mut runtime = builder.start().await?;
    let condition = Arc::new(
        Condition::new(&runtime, config.redis.is_some(), queues)
            .with_spans(traces.as_ref().map(Traces::spans)),
    );
    let portrait = HostPortrait::new(&runtime, Arc::clone(&condition), worked, config.cells.max, address);
    let host = portrait.id().to_owned();
    let portrait: Arc<dyn Portrait> = Arc::new(portrait);
    let (asks, mut asked) = mpsc::channel(ASKS_MAX);
    let spool = match config.spool.as_ref().filter(|_| config.redis.is_some()) {
        Some(spool) => Some(Spool::open(spool, config.lists.keys().cloned(), Arc::clone(&metrics)).await?),
        None => None,
    };
    let forwarding = spool.as_ref().map(|spool| {
        let store = Arc::clone(&runtime.open.store);
        AbortOnDropHandle::new(tokio::spawn(Arc::clone(spool).forward(store)))
    });
    let steering = Steering { asks: asks.clone(), portrait: Arc::clone(&portrait) };
    let versions = versions(&runtime, config, &*portrait);
    let ground = (steering, Arc::clone(&versions));
    let api = api(&runtime, config, condition.queues(), ground, spool.as_ref(), &metrics);
    let again = Again {
        read: options.reread,
        tokens: api.tokens.clone(),
        versions,
        audit: Arc::clone(&api.audit),
        host: host.clone(),
    };
    let pages = Pages {
        health: Arc::clone(&condition) as _,
        gauges: Arc::clone(&condition) as _,
        api: Some(api),
        metrics,
    };
    let (stop_server, mut stopped) = watch::channel(false);
    let serving = tokio::spawn(server.serve(pages, async move {
        let _ = stopped.wait_for(|stop| *stop).await;
    }));
    condition.log_store().await;
    let status = announce(&runtime, &condition, address);
    supervisor.ready(&status);
    let telling = fleet::follow_handlers(Arc::clone(&portrait), runtime.controller().listen());
    let _telling = AbortOnDropHandle::new(tokio::spawn(telling));
    let member = Member::join(Fleet::new(Arc::clone(&runtime.open.documents)), portrait, asks);
    // Whoever uses Redis finds the host by its document there.
    let announced =
        config.redis.is_none().then(|| Announced::write(&config.embedded.path, address)).flatten();
    tracing::debug!(host, "joined the fleet");
    let _watchdog = supervisor.watch(vitals(&runtime, config));
    let open = runtime.open.clone();
    let shutdown = {
        let ears = Ears { signals: &mut signals, asked: &mut asked, heard: VecDeque::new() };
        let steered = steer(&mut runtime, &condition, ears, (config, &supervisor), &again);
        tokio::select! {
            shutdown = steered => shutdown,
            never = condition.warn_of_paused(), if options.burst => match never {},
            never = stuck::tell(open, config.clone(), &condition), if !options.burst => match never {},
        }
    };
    stop_server.send_replace(true);
    // It ends by itself, bounded; an abort would cut answers short.
    let _ = serving.await;
    // What it holds is forwarded by the next run.
    drop((announced, forwarding));
    member.leave().await;
    runtime.close().await;
    if let Some(traces) = traces {
        traces.stop().await;
    }
    let Shutdown { given_back, abandoned } = shutdown;
    tracing::info!(given_back, abandoned, "stopped");
    Ok(shutdown)
}

/// The queues with a series of their finished jobs.
fn counted(config: &Config) -> BTreeSet<QueueName> {
    config.queues.values().filter(|queue| queue.metrics_points > 0).map(|queue| queue.name.clone()).collect()
}

/// The handlers of this host, for the API.
fn versions(runtime: &Runtime, config: &Config, portrait: &dyn Portrait) -> Arc<Versions> {
    let HostStatus { id, name, .. } = portrait.status();
    let controller = Arc::clone(runtime.controller());
    Arc::new(Versions::of_host(controller, &runtime.open.documents, (id, name), config))
}

/// The API to the jobs of this host's store.
fn api(
    runtime: &Runtime,
    config: &Config,
    queues: &[QueueName],
    (steering, versions): (Steering, Arc<Versions>),
    spool: Option<&Arc<Spool>>,
    metrics: &Arc<Metrics>,
) -> Api {
    let (documents, redaction) = (&runtime.open.documents, Arc::new(config.server.redaction.clone()));
    let (shared, metrics) = (Arc::clone(documents), Arc::clone(metrics));
    Api {
        fleet: Fleet::new(Arc::clone(documents)),
        audit: Arc::new(Audit::new(shared, Arc::new(SystemClock), Arc::clone(&redaction), metrics)),
        redaction,
        control: Some(Arc::new(steering)),
        explain: Some(Arc::new(Explainer { open: runtime.open.clone(), config: config.clone() })),
        spool: spool.map(|spool| Arc::clone(spool) as _),
        dashboard: DashboardOptions { counted: counted(config), ..config.server.dashboard.clone() },
        store: Arc::clone(&runtime.open.store),
        clock: Arc::new(SystemClock),
        queues: queues.to_vec(),
        prefix: runtime.open.prefix.clone(),
        tokens: tokens(config).into(),
        handlers: Some(versions),
    }
}

/// Who may use the API.
fn tokens(config: &Config) -> Vec<Token> {
    let token = |TokenConfig { name, role, sha256, tenant }: &TokenConfig| Token {
        name: name.clone(),
        role: *role,
        sha256: *sha256,
        tenant: tenant.clone(),
    };
    config.server.tokens.iter().map(token).collect()
}

/// What must be alive for the host to be.
fn vitals(runtime: &Runtime, config: &Config) -> Vitals {
    let lock =
        |queue: &QueueName| config.queues.get(queue.as_str()).map(|queue| queue.lock).unwrap_or_default();
    let pulses = runtime.workers.pulses().iter();
    Vitals {
        workers: pulses.map(|(queue, pulse)| (queue.clone(), Arc::clone(pulse), lock(queue))).collect(),
        cells: runtime.cells.handle(),
    }
}

/// Says that the host takes jobs, and returns it as a line of status.
fn announce(runtime: &Runtime, condition: &Condition, address: std::net::SocketAddr) -> String {
    let handlers: Vec<String> =
        runtime.handlers().list().into_iter().map(|h| format!("{}@{}", h.name, h.version)).collect();
    let queues: Vec<&str> = condition.queues().iter().map(QueueName::as_str).collect();
    tracing::info!(
        queues = queues.join(","),
        handlers = handlers.join(","),
        url = format!("http://{address}"),
        "ready"
    );
    format!("taking jobs of {}; http://{address}", queues.join(", "))
}

/// What a host listens to.
struct Ears<'a> {
    signals: &'a mut Signals,
    /// The fleet and the API.
    asked: &'a mut mpsc::Receiver<Ask>,
    /// What was heard, and not acted on yet.
    heard: VecDeque<(Ask, bool)>,
}

impl Ears<'_> {
    /// What is asked next, and whether a signal asks. Cancel safe.
    async fn next(&mut self) -> (Ask, bool) {
        match self.heard.pop_front() {
            Some(heard) => heard,
            None => self.listen().await,
        }
    }

    async fn listen(&mut self) -> (Ask, bool) {
        tokio::select! {
            asked = self.signals.next() => (Ask { asked, done: None }, true),
            Some(ask) = self.asked.recv() => (ask, false),
        }
    }

    /// Waits until somebody asks to stop, and keeps that and all that is asked before for [`Ears::next`]. Cancel safe.
    async fn hear_stop(&mut self) {
        while !self.heard.iter().any(|(ask, _)| ask.asked == Asked::Stop) {
            let ask = self.listen().await;
            self.heard.push_back(ask);
        }
    }
}

/// Why nothing is read again.
const STOPPING: &str = "the host is stopping and reads no configuration any more";

/// Reading the configuration again, and what of the API changes with it.
struct Again<'a> {
    read: &'a (dyn Fn() -> Result<Config, ConfigError> + Sync),
    tokens: Tokens,
    versions: Arc<Versions>,
    audit: Arc<Audit>,
    /// The host's id.
    host: String,
}

/// Waits for the workers' end while signals, orders and requests come in.
async fn steer(
    runtime: &mut Runtime,
    condition: &Condition,
    mut ears: Ears<'_>,
    (config, supervisor): (&Config, &Supervisor),
    again: &Again<'_>,
) -> Shutdown {
    let grace = config.shutdown.grace;
    let mut give_back_at: Option<Instant> = None;
    loop {
        let (Ask { asked, done }, is_signal) = tokio::select! {
            shutdown = runtime.ended() => return shutdown,
            ask = ears.next() => ask,
            () = sleep_until(give_back_at.unwrap_or_else(Instant::now)), if give_back_at.is_some() => {
                tracing::warn!(?grace, "the grace is over: giving unfinished jobs back");
                runtime.give_back();
                return runtime.ended().await;
            }
        };
        let mut answer = Ok(Reloaded::default());
        match asked {
            Asked::Stop if give_back_at.is_some() => {
                tracing::warn!("asked to stop again: giving unfinished jobs back");
                runtime.give_back();
                return runtime.ended().await;
            }
            Asked::Stop => {
                tracing::info!(?grace, "stopping: no new jobs; waiting for those that run");
                condition.set_stopping();
                supervisor.stopping(grace);
                runtime.drain();
                give_back_at = Some(Instant::now() + grace);
            }
            // It takes no jobs already, and takes none again.
            Asked::Quiet | Asked::Unquiet if give_back_at.is_some() => {}
            Asked::Quiet => {
                tracing::info!("quiet: no new jobs; CONT goes on");
                runtime.quiet();
                condition.set_quiet(true);
                supervisor.status("quiet: taking no jobs");
            }
            Asked::Unquiet => {
                tracing::info!("taking jobs again");
                runtime.unquiet();
                condition.set_quiet(false);
                supervisor.status("taking jobs");
            }
            Asked::Reload if give_back_at.is_some() => answer = Err(vec![STOPPING.to_owned()]),
            Asked::Reload => {
                supervisor.reloading();
                answer = tokio::select! {
                    answer = again.reload(runtime, config) => answer,
                    // Another configuration is of no use any more.
                    () = ears.hear_stop() => Err(vec![STOPPING.to_owned()]),
                };
                if is_signal {
                    again.record(&answer);
                }
                supervisor.ready("taking jobs");
            }
        }
        if let Some(done) = done {
            // Whoever asked may not wait for it any more.
            let _ = done.send(answer);
        }
    }
}

impl Again<'_> {
    /// Takes handlers, routes and tokens from the configuration as it is now, whoever asks for it; on any fault everything stays as
    /// it was, and all faults are told.
    async fn reload(&self, runtime: &mut Runtime, before: &Config) -> Result<Reloaded, Vec<String>> {
        let config = (self.read)().map_err(|faults| {
            tracing::error!(%faults, "configuration not changed; the one before goes on");
            let ConfigError(faults) = faults;
            faults.iter().map(ToString::to_string).collect::<Vec<_>>()
        })?;
        let changed = match Builder::configured(&config) {
            Ok(builder) => runtime.change(builder).await,
            Err(fault) => Err(fault),
        };
        let changes = changed.map_err(|fault| {
            tracing::error!(%fault, "handlers not changed; those before go on");
            fault.each()
        })?;
        self.tokens.replace(tokens(&config));
        self.versions.configure(&config);
        if changes.is_empty() {
            tracing::info!("read again: no handler has another version");
        }
        let mut handlers = Vec::new();
        for Changed { handler, from, to } in changes {
            tracing::info!(handler, from = from.as_deref(), to = to.as_deref(), "handler changed");
            handlers.push(handler);
        }
        let needs_restart: Vec<String> =
            config.needing_restart(before).into_iter().map(str::to_owned).collect();
        for section in &needs_restart {
            tracing::warn!(
                section,
                "changed in the configuration; takes effect when the host is started anew"
            );
        }
        Ok(Reloaded { handlers, needs_restart })
    }

    /// Keeps it that somebody sent HUP: what comes over the API is kept there. Waits for nothing, since the host must
    /// hear the next signal.
    fn record(&self, answer: &Result<Reloaded, Vec<String>>) {
        let act = Act::done("signal", Role::Admin, Via::Signal, "reload", &self.host);
        let act = match answer {
            Ok(Reloaded { handlers, needs_restart }) => {
                let after = serde_json::json!({ "handlers": handlers, "needsRestart": needs_restart });
                Act { after: Some(after), ..act }
            }
            Err(faults) => Act { outcome: faults.join("; "), ..act },
        };
        let audit = Arc::clone(&self.audit);
        tokio::spawn(async move { audit.record(act).await });
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Mutex, PoisonError};

    use tracing::subscriber::DefaultGuard;

    use super::*;
    use crate::NewJob;
    use crate::config::{FileChoice, Request, load};
    use crate::native::NativeJob;
    use crate::queue::Queue;

    /// The log of the thread that a test runs on.
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl Log {
        fn start() -> (Self, DefaultGuard) {
            let log = Self::default();
            let writer = log.clone();
            let subscriber =
                tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
            (log, tracing::subscriber::set_default(subscriber))
        }

        fn lines(&self, part: &str) -> Vec<String> {
            let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let text = String::from_utf8(bytes).unwrap();
            text.lines().filter(|line| line.contains(part)).map(str::to_owned).collect()
        }
    }

    #[tokio::test]
    async fn the_last_line_says_how_the_host_stopped() {
        let directory = tempfile::tempdir().unwrap();
        let key = "ed25519:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
        let toml = format!(
            "[embedded]\npath = \"store\"\n[server]\nlisten = \"127.0.0.1:0\"\n[trust]\nkeys = [\"{key}\"]\n"
        );
        let file = FileChoice::Text(directory.path().join("jobcell.toml"), toml);
        let config = load(&Request { file, ..Request::default() }).unwrap();
        let (log, _guard) = Log::start();
        // Without queues a burst ends at once.
        run(
            &config,
            RunOptions {
                burst: true,
                environment: &Environment::default(),
                reread: &|| Err(ConfigError(Vec::new())),
            },
        )
        .await
        .unwrap();
        let stopped = log.lines("stopped");
        assert_eq!(stopped.len(), 1, "{stopped:?}");
        for part in ["INFO", "given_back=0", "abandoned=0"] {
            assert!(stopped[0].contains(part), "{stopped:?}");
        }
    }

    #[tokio::test]
    async fn nothing_that_is_asked_while_a_stop_is_listened_for_is_lost() {
        let mut signals = Signals::listen().unwrap();
        let (asks, mut asked) = mpsc::channel(4);
        let mut ears = Ears { signals: &mut signals, asked: &mut asked, heard: VecDeque::new() };
        let order = [Asked::Quiet, Asked::Unquiet, Asked::Stop, Asked::Quiet];
        for asked in order {
            asks.try_send(Ask { asked, done: None }).ok().unwrap();
        }
        ears.hear_stop().await;
        assert_eq!(ears.heard.len(), 3, "what comes after it is not listened to yet");
        for expected in order {
            assert_eq!(ears.next().await.0.asked, expected);
        }
    }

    #[tokio::test]
    async fn a_paused_queue_that_a_burst_waits_for_is_named_once() {
        let directory = tempfile::tempdir().unwrap();
        let names = ["paused", "empty", "open"].map(|name| QueueName::new(name).unwrap());
        let mut builder = Builder::new()
            .embedded(directory.path())
            .native("h", |_: NativeJob| async { Ok(serde_json::Value::Null) });
        for name in &names {
            builder = builder.queue(Queue::new(name.as_str()).to("h"));
        }
        let runtime = builder.start().await.unwrap();
        for name in &names[..2] {
            runtime.store().pause(name).await.unwrap();
        }
        runtime.enqueue("paused", NewJob::new("n", "{}")).await.unwrap();
        let condition = Condition::new(&runtime, false, names.to_vec());
        let (log, _guard) = Log::start();
        // Long enough for it to look several times.
        let looking = tokio::time::timeout(condition::PAUSE_LOOK * 5 / 2, condition.warn_of_paused());
        assert!(looking.await.is_err(), "it goes on until it is dropped");
        let said = log.lines("paused and not empty");
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].contains("WARN") && said[0].contains("queue=\"paused\""), "{said:?}");
        runtime.shutdown(std::time::Duration::ZERO).await;
    }
}
