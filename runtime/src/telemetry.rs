//! What a host tells besides its pages: traces to a collector, and a line of the log for each attempt.
//!
//! Both hear the same [`Event`]s as the metrics do ([`Voices`]). Traces go from the producer's context, which a job carries,
//! through the attempt ([`tracer`]) into a bounded queue ([`queue`]), and from there to the collector. Nothing on that way
//! waits for anything: what does not fit is dropped and counted. Without a collector none of it is made.

mod attempts;
mod client;
mod context;
mod queue;
#[cfg(test)]
mod tests;
mod tracer;

use std::sync::Arc;
use std::time::Duration;

use jobcell_core::Observer;
use jobcell_core::event::Event;
use jobcell_core::trace::{Begins, Trace};
use jobcell_server::Metrics;
use opentelemetry::KeyValue;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler as SdkSampler, SdkTracerProvider};

use crate::config::{Sampler, TracesConfig};
use queue::Sending;
pub(crate) use queue::Spans;
use tracer::Tracer;

/// How long a host that stops waits for its last spans to be sent.
const LAST_SPANS: Duration = Duration::from_secs(3);

/// Why traces cannot be collected.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The certificates cannot be used.
    #[error("traces cannot be sent: the certificates in {path} cannot be used: {cause}; name a file in PEM")]
    Certificate {
        /// The file.
        path: String,
        /// What is wrong.
        cause: String,
    },
    /// The exporter cannot be made.
    #[error("traces cannot be sent: {0}")]
    Exporter(String),
}

/// Traces of a running host.
pub(crate) struct Traces {
    tracer: Arc<Tracer>,
    sending: Sending,
}

/// Everybody who hears what happens in a host.
pub(crate) struct Voices {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) tracer: Option<Arc<Tracer>>,
}

// === impl Traces ===

impl Traces {
    /// Begins to collect, and to send from the current runtime.
    ///
    /// # Errors
    /// When the exporter cannot be set up. A collector that does not answer is none.
    pub(crate) fn start(config: &TracesConfig, host: &str) -> Result<Self, TelemetryError> {
        let resource = resource(config, host);
        let exporter = client::exporter(config, &resource)?;
        let (queue, sending) = queue::start(config, exporter);
        let sampler = match config.sampler {
            Sampler::Share(share) => SdkSampler::TraceIdRatioBased(share),
            Sampler::ByParent(share) => {
                SdkSampler::ParentBased(Box::new(SdkSampler::TraceIdRatioBased(share)))
            }
        };
        let provider = SdkTracerProvider::builder()
            .with_sampler(sampler)
            .with_resource(resource)
            .with_span_processor(queue)
            .build();
        Ok(Self { tracer: Arc::new(Tracer::new(&provider, config.log_lines)), sending })
    }

    /// What makes spans of attempts.
    pub(crate) fn tracer(&self) -> Arc<Tracer> {
        Arc::clone(&self.tracer)
    }

    /// What became of the spans.
    pub(crate) fn spans(&self) -> Arc<Spans> {
        self.sending.spans()
    }

    /// Sends what is left, for a few seconds at most.
    pub(crate) async fn stop(self) {
        self.sending.stop(LAST_SPANS).await;
    }
}

/// Who the spans are of.
fn resource(config: &TracesConfig, host: &str) -> Resource {
    Resource::builder()
        .with_service_name(config.service.clone())
        .with_attributes([
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new("service.instance.id", host.to_owned()),
        ])
        .build()
}

// === impl Voices ===

impl Observer for Voices {
    fn on(&self, event: &Event) {
        let Self { metrics, tracer: _ } = self;
        metrics.on(event);
        attempts::log(event);
    }

    fn follow(&self, begins: &Begins<'_>) -> Option<Arc<dyn Trace>> {
        self.tracer.as_ref().map(|tracer| tracer.follow(begins))
    }
}
