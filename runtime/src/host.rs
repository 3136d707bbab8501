//! `jobcell run`: a runtime with its HTTP side, steered by signals.

mod condition;
mod signals;

use std::sync::Arc;

use jobcell_core::{QueueName, SystemClock};
use jobcell_handlers::Changed;
use jobcell_server::{Api, Metrics, Pages, Server, ServerError, Token};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::builder::{Builder, StartError};
use crate::config::{Config, ConfigError, TokenConfig};
use crate::configured;
use crate::runtime::{Runtime, Shutdown};
use condition::Condition;
use signals::{Asked, Signals};

/// What `run` is told besides the configuration.
pub struct RunOptions<'a> {
    /// End when every queue has nothing waiting, delayed or running.
    pub burst: bool,
    /// Reads the configuration again, when HUP asks for it.
    pub reread: &'a (dyn Fn() -> Result<Config, ConfigError> + Sync),
}

/// Why a host does not run.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// It does not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// It cannot listen.
    #[error(transparent)]
    Server(#[from] ServerError),
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
    let server = Server::bind(config.server.listen).await?;
    let address = server.local_addr();
    let metrics = Arc::new(Metrics::new());
    let builder = Builder::configured(config)?.observer(Arc::clone(&metrics) as Arc<_>).burst(options.burst);
    let queues = builder.queue_names();
    queues.iter().for_each(|queue| metrics.announce(queue));
    let mut runtime = builder.start().await?;
    let condition = Arc::new(Condition::new(&runtime, config.redis.is_some(), queues));
    let pages = Pages {
        health: Arc::clone(&condition) as _,
        gauges: Arc::clone(&condition) as _,
        metrics,
        api: Some(api(&runtime, config, condition.queues())),
    };
    let (stop_server, mut stopped) = watch::channel(false);
    let serving = tokio::spawn(server.serve(pages, async move {
        let _ = stopped.wait_for(|stop| *stop).await;
    }));
    condition.log_store().await;
    announce(&runtime, &condition, address);
    for warning in configured::without_effect(config) {
        tracing::warn!("{warning}");
    }
    let shutdown = {
        let steered = steer(&mut runtime, &condition, &mut signals, config, options.reread);
        tokio::select! {
            shutdown = steered => shutdown,
            never = condition.warn_of_paused(), if options.burst => match never {},
        }
    };
    stop_server.send_replace(true);
    // It ends by itself, bounded; an abort would cut answers short.
    let _ = serving.await;
    runtime.close().await;
    let Shutdown { given_back, abandoned } = shutdown;
    tracing::info!(given_back, abandoned, "stopped");
    Ok(shutdown)
}

/// The API to the jobs of this host's store.
fn api(runtime: &Runtime, config: &Config, queues: &[QueueName]) -> Api {
    let token = |token: &TokenConfig| Token {
        name: token.name.clone(),
        role: token.role,
        sha256: token.sha256,
        tenant: token.tenant.clone(),
    };
    Api {
        store: Arc::clone(&runtime.open.store),
        clock: Arc::new(SystemClock),
        queues: queues.to_vec(),
        prefix: runtime.open.prefix.clone(),
        tokens: config.server.tokens.iter().map(token).collect(),
    }
}

fn announce(runtime: &Runtime, condition: &Condition, address: std::net::SocketAddr) {
    let handlers: Vec<String> =
        runtime.handlers().list().into_iter().map(|h| format!("{}@{}", h.name, h.version)).collect();
    let queues: Vec<&str> = condition.queues().iter().map(QueueName::as_str).collect();
    tracing::info!(
        queues = queues.join(","),
        handlers = handlers.join(","),
        url = format!("http://{address}"),
        "ready"
    );
}

/// Waits for the workers' end while signals come in.
async fn steer(
    runtime: &mut Runtime,
    condition: &Condition,
    signals: &mut Signals,
    config: &Config,
    reread: &(dyn Fn() -> Result<Config, ConfigError> + Sync),
) -> Shutdown {
    let grace = config.shutdown.grace;
    let mut give_back_at: Option<Instant> = None;
    loop {
        let asked = tokio::select! {
            shutdown = runtime.ended() => return shutdown,
            asked = signals.next() => asked,
            () = sleep_until(give_back_at.unwrap_or_else(Instant::now)), if give_back_at.is_some() => {
                tracing::warn!(?grace, "the grace is over: giving unfinished jobs back");
                runtime.give_back();
                return runtime.ended().await;
            }
        };
        match asked {
            Asked::Stop if give_back_at.is_some() => {
                tracing::warn!("asked to stop again: giving unfinished jobs back");
                runtime.give_back();
                return runtime.ended().await;
            }
            Asked::Stop => {
                tracing::info!(?grace, "stopping: no new jobs; waiting for those that run");
                condition.set_stopping();
                runtime.drain();
                give_back_at = Some(Instant::now() + grace);
            }
            // It takes no jobs already, and takes none again.
            Asked::Quiet | Asked::Unquiet if give_back_at.is_some() => {}
            Asked::Quiet => {
                tracing::info!("quiet: no new jobs; CONT goes on");
                runtime.quiet();
                condition.set_quiet(true);
            }
            Asked::Unquiet => {
                tracing::info!("taking jobs again");
                runtime.unquiet();
                condition.set_quiet(false);
            }
            Asked::Reload => reload(runtime, config, reread).await,
        }
    }
}

/// Takes handlers and routes from the configuration as it is now; on any fault everything stays as it was.
async fn reload(
    runtime: &mut Runtime,
    before: &Config,
    reread: &(dyn Fn() -> Result<Config, ConfigError> + Sync),
) {
    let config = match reread() {
        Ok(config) => config,
        Err(faults) => {
            tracing::error!(%faults, "configuration not changed; the one before goes on");
            return;
        }
    };
    let changed = match Builder::configured(&config) {
        Ok(builder) => runtime.change(builder).await,
        Err(fault) => Err(fault),
    };
    match changed {
        Ok(changes) if changes.is_empty() => tracing::info!("read again: no handler has another version"),
        Ok(changes) => {
            for Changed { handler, from, to } in changes {
                tracing::info!(handler, from = from.as_deref(), to = to.as_deref(), "handler changed");
            }
        }
        Err(fault) => tracing::error!(%fault, "handlers not changed; those before go on"),
    }
    for section in config.needing_restart(before) {
        tracing::warn!(section, "changed in the configuration; takes effect when the host is started anew");
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
        run(&config, RunOptions { burst: true, reread: &|| Err(ConfigError(Vec::new())) }).await.unwrap();
        let stopped = log.lines("stopped");
        assert_eq!(stopped.len(), 1, "{stopped:?}");
        for part in ["INFO", "given_back=0", "abandoned=0"] {
            assert!(stopped[0].contains(part), "{stopped:?}");
        }
        assert_eq!(log.lines("[trust] keys has no effect").len(), 1);
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
