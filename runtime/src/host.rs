//! `jobcell run`: a runtime with its HTTP side, steered by signals.

mod condition;
mod signals;

use std::sync::Arc;

use jobcell_core::QueueName;
use jobcell_handlers::Changed;
use jobcell_server::{Metrics, Pages, Server, ServerError};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::builder::{Builder, StartError};
use crate::config::{Config, ConfigError};
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
    let pages = Pages { health: Arc::clone(&condition) as _, gauges: Arc::clone(&condition) as _, metrics };
    let (stop_server, mut stopped) = watch::channel(false);
    let serving = tokio::spawn(server.serve(pages, async move {
        let _ = stopped.wait_for(|stop| *stop).await;
    }));
    condition.log_store().await;
    announce(&runtime, &condition, address);
    let shutdown = steer(&mut runtime, &condition, &mut signals, config, options.reread).await;
    stop_server.send_replace(true);
    // It ends by itself, bounded; an abort would cut answers short.
    let _ = serving.await;
    runtime.close().await;
    Ok(shutdown)
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
