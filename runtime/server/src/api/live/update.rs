//! One thing that happened to a job.

use std::sync::Arc;

use jobcell_core::QueueName;
use jobcell_core::store::StoredEvent;
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::view::raw;

/// One thing that happened.
#[derive(Debug)]
pub(crate) struct Update {
    pub(super) queue: QueueName,
    /// The event's place in its queue's stream.
    pub(super) id: String,
    pub(super) tenant: Option<String>,
    /// As it is sent: made once for all clients.
    pub(super) json: Arc<str>,
}

/// A job update.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = JobUpdate)]
pub(crate) struct View<'a> {
    /// Whose job it is.
    tenant_id: Option<&'a str>,
    /// The queue.
    queue: &'a str,
    /// The job; null for what concerns the whole queue.
    job_id: Option<&'a str>,
    /// The state that the job is in from now on: `waiting`, `prioritized`, `delayed`, `active`, `waiting-children`,
    /// `completed` or `failed`; null where the event does not change it.
    status: Option<&'a str>,
    /// BullMQ's word for what happened: `added`, `active`, `progress`, `completed`, `failed`, `drained`, …
    event: &'a str,
    /// Why it failed.
    error: Option<&'a str>,
    /// The result, up to 16 KiB; ask for the job to have a longer one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    result: Option<Box<RawValue>>,
    /// The progress, up to 16 KiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    progress: Option<Box<RawValue>>,
}

/// The longest result or progress that is sent along: thousands of updates may be kept for slow clients.
const VALUE_BYTES_MAX: usize = 16 * 1024;

// === impl Update ===

impl Update {
    pub(super) fn new(queue: &QueueName, event: StoredEvent, tenant: Option<String>) -> Self {
        let value = |name| {
            event.field(name).filter(|text| text.len() <= VALUE_BYTES_MAX).map(|text| raw(text.as_bytes()))
        };
        let is = |name| event.event == name;
        let view = View {
            tenant_id: tenant.as_deref(),
            queue: queue.as_str(),
            job_id: event.field("jobId"),
            status: status(&event.event),
            event: &event.event,
            error: event.field("failedReason"),
            result: value("returnvalue").filter(|_| is("completed")),
            progress: value("data").filter(|_| is("progress")),
        };
        // Texts and JSON: it can be written.
        let json = serde_json::to_string(&view).unwrap_or_default().into();
        Self { queue: queue.clone(), id: event.id, tenant, json }
    }
}

/// The state that an event leaves its job in.
fn status(event: &str) -> Option<&'static str> {
    Some(match event {
        "waiting" | "stalled" => "waiting",
        "prioritized" => "prioritized",
        "delayed" => "delayed",
        "active" => "active",
        "waiting-children" => "waiting-children",
        "completed" => "completed",
        "failed" => "failed",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn told(event: &str, fields: &[(&str, &str)]) -> Value {
        let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let event = StoredEvent { id: "1-0".to_owned(), event: event.to_owned(), fields };
        let update = Update::new(&QueueName::new("q").unwrap(), event, Some("acme".to_owned()));
        serde_json::from_str(&update.json).unwrap()
    }

    #[test]
    fn events_become_updates() {
        let done = told("completed", &[("jobId", "7"), ("returnvalue", "{\"a\":1}"), ("prev", "active")]);
        let expected = json!({"tenantId": "acme", "queue": "q", "jobId": "7", "status": "completed",
            "event": "completed", "error": null, "result": {"a": 1}});
        assert_eq!(done, expected);
        assert_eq!(told("failed", &[("jobId", "7"), ("failedReason", "no")])["error"], "no");
        assert_eq!(told("progress", &[("jobId", "7"), ("data", "42")])["progress"], 42);
        let drained = told("drained", &[]);
        assert!(drained["jobId"].is_null() && drained["status"].is_null());
    }

    #[test]
    fn long_values_are_left_out() {
        let long = format!("\"{}\"", "x".repeat(VALUE_BYTES_MAX));
        assert_eq!(told("completed", &[("jobId", "7"), ("returnvalue", &long)]).get("result"), None);
    }
}
