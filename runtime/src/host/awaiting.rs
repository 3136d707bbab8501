//! A host whose store is not there yet when it starts: it waits, says so, and answers whoever asks how it is.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jobcell_redis::{ConnectError, ConnectOptions, Redis};
use jobcell_server::{
    Gauges, Health, HealthReport, HostGauges, Metrics, Pages, RedisHealth, RedisStatus, Server, SpanCounts,
    Status, StoreGauges, StoreReport,
};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::asked::Asked;
use super::signals::Signals;
use super::supervisor::Supervisor;
use crate::builder::StartError;
use crate::config::RedisConfig;

/// The first pause between two tries, and the longest: a Redis that comes up late must not keep a host waiting.
const PAUSE_MIN: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(3);
/// How often the same reason is logged again.
const SAY_EVERY: Duration = Duration::from_secs(60);
/// What the supervisor is asked to wait from one try to the next.
const PATIENCE: Duration = Duration::from_secs(60);

/// How the waiting ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Awaited {
    /// The store is there.
    Here,
    /// The host was told to stop.
    Stopped,
}

/// What is shown of a host that waits: why.
struct Waiting {
    reason: Mutex<String>,
}

/// Waits until the Redis of this configuration lets the host in, and says so when it was told to stop first.
///
/// # Errors
/// [`StartError::Store`] with that which somebody has to mend first.
pub(super) async fn store(
    config: &RedisConfig,
    shown: (&Server, &Arc<Metrics>),
    signals: &mut Signals,
    supervisor: &Supervisor,
) -> Result<Awaited, StartError> {
    let awaited = match config.connect_options() {
        Ok(options) => redis(options, shown, signals, supervisor).await,
        Err(fault) => Err(fault),
    };
    let awaited = awaited.map_err(|fault| StartError::Store(fault.into()))?;
    if awaited == Awaited::Stopped {
        tracing::info!("stopped before the store was there");
    }
    Ok(awaited)
}

/// Waits until Redis lets this host in. What does not pass by itself (a wrong password, no TLS) is not waited for.
///
/// # Errors
/// That which somebody has to mend first.
async fn redis(
    options: ConnectOptions,
    (server, metrics): (&Server, &Arc<Metrics>),
    signals: &mut Signals,
    supervisor: &Supervisor,
) -> Result<Awaited, ConnectError> {
    let fault = match Redis::connect(options.clone()).await {
        Ok(_) => return Ok(Awaited::Here),
        Err(fault) if fault.is_transient() => fault.to_string(),
        Err(fault) => return Err(fault),
    };
    let waiting = Arc::new(Waiting { reason: Mutex::new(fault) });
    let pages = Pages {
        health: Arc::clone(&waiting) as _,
        gauges: Arc::clone(&waiting) as _,
        metrics: Arc::clone(metrics),
        api: None,
    };
    let (stop, mut stopped) = watch::channel(false);
    let ended = async {
        let ended = tokio::select! {
            ended = waiting.until_open(&options, supervisor) => ended,
            () = until_stopped(signals) => Ok(Awaited::Stopped),
        };
        stop.send_replace(true);
        ended
    };
    let serving = server.serve_until(pages, async move {
        let _ = stopped.wait_for(|stop| *stop).await;
    });
    tokio::join!(ended, serving).0
}

async fn until_stopped(signals: &mut Signals) {
    // There is nothing to be quiet about, and nothing to read again.
    while !matches!(signals.next().await, Asked::Stop) {}
}

// === impl Waiting ===

impl Waiting {
    async fn until_open(
        &self,
        options: &ConnectOptions,
        supervisor: &Supervisor,
    ) -> Result<Awaited, ConnectError> {
        let (began, mut pause, mut tries) = (Instant::now(), PAUSE_MIN, 1_u32);
        let mut said: Option<(String, Instant)> = None;
        loop {
            let reason = self.reason();
            let is_news = said.as_ref().is_none_or(|(last, at)| *last != reason || at.elapsed() >= SAY_EVERY);
            if is_news {
                tracing::error!(tries, "waiting for the store: {reason}");
                said = Some((reason, Instant::now()));
            }
            supervisor.waiting(PATIENCE);
            sleep(pause.mul_f64(rand::random_range(0.5..=1.0))).await;
            pause = (pause * 2).min(PAUSE_MAX);
            tries = tries.saturating_add(1);
            match Redis::connect(options.clone()).await {
                Ok(_) => {
                    tracing::info!(tries, waited = ?began.elapsed(), "the store is there");
                    return Ok(Awaited::Here);
                }
                Err(fault) if fault.is_transient() => {
                    *self.reason.lock().unwrap_or_else(PoisonError::into_inner) = fault.to_string();
                }
                Err(fault) => return Err(fault),
            }
        }
    }

    fn reason(&self) -> String {
        self.reason.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[async_trait]
impl Health for Waiting {
    async fn ready(&self) -> Result<(), Vec<String>> {
        Err(vec![format!("the host waits for its store: {}", self.reason())])
    }

    async fn health(&self) -> HealthReport {
        HealthReport {
            status: Status::Unhealthy,
            redis: RedisHealth { status: RedisStatus::Disconnected, message: self.reason(), latency: None },
            store: StoreReport { kind: "redis".to_owned(), up: false, latency: None, warnings: Vec::new() },
            handlers: BTreeMap::new(),
            queues: BTreeMap::new(),
            version: env!("CARGO_PKG_VERSION"),
            wasmtime: jobcell_wasm::WASMTIME_VERSION,
        }
    }
}

#[async_trait]
impl Gauges for Waiting {
    fn host(&self) -> HostGauges {
        HostGauges {
            cells_active: 0,
            cells_max: 0,
            build: (env!("CARGO_PKG_VERSION"), jobcell_wasm::WASMTIME_VERSION),
            spans: SpanCounts::default(),
            last_polls: BTreeMap::new(),
            handlers: Vec::new(),
        }
    }

    async fn store(&self) -> StoreGauges {
        StoreGauges { up: false, warnings: 0, hosts: None, queues: BTreeMap::new() }
    }
}
