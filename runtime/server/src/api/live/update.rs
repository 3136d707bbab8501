//! One thing that happened to a job.

use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::ws::Utf8Bytes;
use bytes::Bytes;
use jobcell_core::QueueName;
use jobcell_core::store::StoredEvent;
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::place::Place;
use crate::redact::Redaction;
use crate::view::raw;

/// One thing that happened.
#[derive(Debug)]
pub(crate) struct Update {
    pub(super) queue: QueueName,
    /// The event's place in its queue's stream.
    pub(super) id: Arc<str>,
    pub(super) tenant: Option<String>,
    /// As it is sent: made once for all clients.
    pub(super) json: Utf8Bytes,
    /// Its place among all that were told; 0 when it was read for one client.
    pub(super) number: u64,
    /// As a server-sent event, by the queues that its clients listen to.
    frames: Mutex<Vec<(Arc<[QueueName]>, Bytes)>>,
}

/// Sets of queues that share frames: beyond it each client makes its own.
const FRAMES_MAX: usize = 16;

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
    pub(super) fn new(
        queue: &QueueName,
        event: StoredEvent,
        tenant: Option<String>,
        redaction: &Redaction,
    ) -> Self {
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
            result: value("returnvalue")
                .filter(|_| is("completed"))
                .map(|result| redaction.of_part("returnvalue", result)),
            progress: value("data")
                .filter(|_| is("progress"))
                .map(|progress| redaction.of_part("progress", progress)),
        };
        // Texts and JSON: it can be written.
        let json = serde_json::to_string(&view).unwrap_or_default().into();
        let (id, frames) = (event.id.into(), Mutex::default());
        Self { queue: queue.clone(), id, tenant, json, number: 0, frames }
    }

    /// As a server-sent event after which a client is at this place. JSON on one line: it needs no escaping.
    pub(super) fn frame(&self, place: &Place) -> Bytes {
        let json = self.json.as_str();
        match place.text() {
            Some(place) => format!("id: {place}\ndata: {json}\n\n").into(),
            None => format!("data: {json}\n\n").into(),
        }
    }

    /// The same, made once for all clients of these queues. Only for clients that have heard the same of them: the
    /// channel has one order, so their places are the same.
    pub(super) fn shared_frame(&self, place: &Place) -> Bytes {
        let mut frames = self.frames.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, frame)) = frames.iter().find(|(queues, _)| *queues == place.queues) {
            return frame.clone();
        }
        let frame = self.frame(place);
        if frames.len() < FRAMES_MAX {
            frames.push((Arc::clone(&place.queues), frame.clone()));
        }
        frame
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
        let redaction = Redaction::new(["returnvalue.token", "progress.secret"]).unwrap();
        let update = Update::new(&QueueName::new("q").unwrap(), event, Some("acme".to_owned()), &redaction);
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
    fn nobody_is_shown_what_is_redacted() {
        let done = told("completed", &[("jobId", "7"), ("returnvalue", "{\"token\":\"s3cret\"}")]);
        assert_eq!(done["result"], json!({"token": "[redacted]"}));
        let progress = told("progress", &[("jobId", "7"), ("data", "[{\"secret\":1}]")]);
        assert_eq!(progress["progress"], json!([{"secret": "[redacted]"}]));
    }

    #[test]
    fn long_values_are_left_out() {
        let long = format!("\"{}\"", "x".repeat(VALUE_BYTES_MAX));
        assert_eq!(told("completed", &[("jobId", "7"), ("returnvalue", &long)]).get("result"), None);
    }
}
