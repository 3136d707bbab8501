//! The HTTP side of a host: is it alive, is it ready, how is it, its metrics, and the API to its jobs.
//!
//! [`Server`] listens; what it shows comes in through two narrow traits, [`Health`] and [`Gauges`], so that this crate
//! knows neither Redis nor Wasm; the API works on any store ([`Api`]). [`Metrics`] counts what happens: it is the [`jobcell_core::Observer`] of a host.
//!
//! ```no_run
//! # use std::sync::Arc;
//! # use jobcell_server::{Gauges, Health, Metrics, Pages, Server, ServerError};
//! # async fn run(health: Arc<dyn Health>, gauges: Arc<dyn Gauges>) -> Result<(), ServerError> {
//! let metrics = Arc::new(Metrics::new());
//! let pages = Pages { health, gauges, metrics, api: None };
//! let server = Server::bind(([127, 0, 0, 1], 8787).into()).await?;
//! println!("listening on {}", server.local_addr());
//! server.serve(pages, async { /* ends when the host stops */ }).await;
//! # Ok(())
//! # }
//! ```

mod api;
mod audit;
mod control;
mod dashboard;
mod explain;
mod handlers;
mod health;
mod input;
mod listen;
mod metrics;
mod problem;
mod redact;
mod request;
mod routes;
mod seats;
mod spool;
#[cfg(test)]
mod tests;
mod tree;
mod view;

pub use api::{Api, Role, Token, Tokens, openapi};
pub use audit::{Act, Audit, AuditEntry, Via, rule_of};
pub use control::{Control, Reloaded};
pub use dashboard::DashboardOptions;
pub use explain::{Explain, Explanation, Reason};
pub use handlers::{
    Author, CanaryLimits, Change, Deployment, Handlers, HandlersError, HandlersFault, Then, standing,
    standing_since,
};
pub use health::{
    HandlerHealth, Health, HealthReport, QueueHealth, RedisHealth, RedisStatus, Status, StoreReport,
    WorkerReport,
};
pub use input::{DeduplicationInput, OptionsInput, TelemetryInput};
pub use listen::{Server, ServerError};
pub use metrics::{
    Gauges, HandlerGauge, HostGauges, Metrics, QueueGauges, SpanCounts, StoreGauges, queue_gauges,
};
pub use redact::{PathError, Redaction};
pub use routes::Pages;
pub use seats::ConnectionBounds;
pub use spool::{Spool, SpoolError};
pub use tree::{Tree, tree};
pub use view::{AttemptView, JobView, LimitsView, QueueView, RateView, SchedulerView, raw};
