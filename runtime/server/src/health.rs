//! What `/health` says, and whom the server asks.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use jobcell_core::store::Counts;
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use crate::view::CountsView;

/// Knows how the host is. Each answer should come within a few seconds: the server gives up on slower ones.
#[async_trait]
pub trait Health: Send + Sync + 'static {
    /// Whether the host takes new work: its store is reachable, its handlers are loaded, it is not quiet.
    ///
    /// # Errors
    /// Every reason why not, each a sentence without secrets.
    async fn ready(&self) -> Result<(), Vec<String>>;

    /// How everything is.
    async fn health(&self) -> HealthReport;
}

/// How everything is.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct HealthReport {
    /// In one word.
    pub status: Status,
    /// Redis, when that is the store.
    pub redis: RedisHealth,
    /// The store, whichever it is.
    pub store: StoreReport,
    /// The handlers by name.
    pub handlers: BTreeMap<String, HandlerHealth>,
    /// The queues by name.
    pub queues: BTreeMap<String, QueueHealth>,
    /// The host's version.
    pub version: &'static str,
    /// The engine's version.
    pub wasmtime: &'static str,
}

/// How the host is, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// All is well.
    Healthy,
    /// It works, but something needs mending.
    Degraded,
    /// It cannot work.
    Unhealthy,
}

/// How Redis is.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct RedisHealth {
    /// In one word.
    pub status: RedisStatus,
    /// In a sentence, without secrets.
    pub message: String,
    /// The round trip of one small call in milliseconds; null when there was none.
    #[serde(serialize_with = "milliseconds")]
    #[schema(value_type = Option<f64>, required = true)]
    pub latency: Option<Duration>,
}

/// How Redis is, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RedisStatus {
    /// It answers.
    Connected,
    /// It is configured and does not answer.
    Disconnected,
    /// The store is another one.
    NotConfigured,
}

/// How the store is.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct StoreReport {
    /// `redis 7.0.15`, `embedded`.
    pub kind: String,
    /// Whether it answers.
    pub up: bool,
    /// The round trip of one small call in milliseconds; null when there was none.
    #[serde(serialize_with = "milliseconds")]
    #[schema(value_type = Option<f64>, required = true)]
    pub latency: Option<Duration>,
    /// Things an operator should mend, each with the fix.
    pub warnings: Vec<String>,
}

/// How a handler is.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct HandlerHealth {
    /// The first 12 hex digits of the active version's digest, or `native`.
    pub version: String,
    /// `active`, `refused`, …
    pub state: &'static str,
}

/// How a queue is.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct QueueHealth {
    /// Whether it is paused; left out while the store does not answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused: Option<bool>,
    /// How many jobs are in each state; left out while the store does not answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<CountsView>)]
    pub jobs: Option<Counts>,
    /// Why its jobs do not run, a sentence each with what to do; left out while nothing is known to hold them up. At most
    /// half a minute old; what takes longer to find out, ten minutes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub held_up: Vec<String>,
    /// How this host's worker is.
    pub worker: WorkerReport,
}

/// How a queue's worker is.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
pub struct WorkerReport {
    /// Milliseconds since it last had an answer when it asked for jobs; 0 while it has no reason to ask.
    #[serde(serialize_with = "milliseconds")]
    #[schema(value_type = Option<f64>, required = true)]
    pub last_poll: Option<Duration>,
    /// Why its last call to the store failed; null while calls succeed.
    pub fault: Option<String>,
}

fn milliseconds<S: Serializer>(latency: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    // Two decimals: Redis next door answers in tenths of a millisecond, and more digits are noise.
    let rounded = latency.map(|latency| (latency.as_secs_f64() * 100_000.0).round() / 100.0);
    rounded.serialize(serializer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_has_the_documented_shape() {
        let report = HealthReport {
            status: Status::Degraded,
            redis: RedisHealth {
                status: RedisStatus::NotConfigured,
                message: "jobs live in the embedded store".to_owned(),
                latency: None,
            },
            store: StoreReport {
                kind: "embedded".to_owned(),
                up: true,
                latency: Some(Duration::from_micros(1234)),
                warnings: Vec::new(),
            },
            handlers: BTreeMap::from([(
                "media".to_owned(),
                HandlerHealth { version: "0123456789ab".to_owned(), state: "active" },
            )]),
            queues: BTreeMap::from([(
                "q".to_owned(),
                QueueHealth {
                    paused: Some(false),
                    jobs: Some(Counts::default()),
                    held_up: vec!["it is paused".to_owned()],
                    worker: WorkerReport { last_poll: Some(Duration::from_millis(40)), fault: None },
                },
            )]),
            version: "0.1.0",
            wasmtime: "48.0.8",
        };
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["status"], "degraded");
        assert_eq!(json["redis"]["status"], "not_configured");
        assert!(json["redis"]["latency"].is_null());
        assert_eq!(json["store"]["latency"], 1.23);
        assert_eq!(json["queues"]["q"]["jobs"]["waiting-children"], 0);
        assert_eq!(json["queues"]["q"]["worker"], serde_json::json!({"last_poll": 40.0, "fault": null}));
        assert_eq!(json["queues"]["q"]["held_up"], serde_json::json!(["it is paused"]));
        assert_eq!(json["handlers"]["media"]["state"], "active");
        let away =
            QueueHealth { paused: None, jobs: None, held_up: Vec::new(), worker: WorkerReport::default() };
        let json = serde_json::to_value(&away).unwrap();
        assert_eq!(json, serde_json::json!({"worker": {"last_poll": null, "fault": null}}));
    }
}
