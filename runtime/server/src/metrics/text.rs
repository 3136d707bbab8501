//! The two text formats: OpenMetrics for scrapers that ask for it, Prometheus' own for all others.

use std::fmt::{self, Write};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

/// A text format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Prometheus text 0.0.4.
    Prometheus,
}

impl Format {
    /// What a scraper's `Accept` asks for.
    pub(crate) fn wanted(accept: Option<&str>) -> Self {
        let asks = |range: &str| {
            let mut parts = range.split(';').map(str::trim);
            let is_open_metrics = parts.next() == Some("application/openmetrics-text");
            is_open_metrics && !parts.any(|parameter| parameter == "q=0")
        };
        if accept.is_some_and(|accept| accept.split(',').any(asks)) {
            Self::OpenMetrics
        } else {
            Self::Prometheus
        }
    }

    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    pub(crate) fn write(self, metrics: impl Collector) -> Result<String, fmt::Error> {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(metrics));
        let mut page = String::new();
        encode(&mut page, &registry)?;
        match self {
            Self::OpenMetrics => Ok(page),
            Self::Prometheus => prometheus(&page),
        }
    }
}

/// Rewrites OpenMetrics as Prometheus text. They differ in the name of a counter, which in Prometheus text has its
/// `_total` in the comments too, and in the end mark.
fn prometheus(page: &str) -> Result<String, fmt::Error> {
    let mut text = String::with_capacity(page.len() + 256);
    let mut lines = page.lines().peekable();
    while let Some(line) = lines.next() {
        if line == "# EOF" {
            continue;
        }
        let kind = |line: &str| line.starts_with("# TYPE ") && line.ends_with(" counter");
        let counts =
            kind(line) || (line.starts_with("# HELP ") && lines.peek().is_some_and(|next| kind(next)));
        match line.splitn(4, ' ').collect::<Vec<_>>().as_slice() {
            [mark, word, name, rest] if counts => writeln!(text, "{mark} {word} {name}_total {rest}")?,
            _ => writeln!(text, "{line}")?,
        }
    }
    Ok(text)
}
