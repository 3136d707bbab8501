//! The job's payload and result: one message to one recipient over one channel.
//!
//! One job is one message. Telling five people is five jobs: each has its own attempts, its own idempotency key
//! and its own outcome, and the fourth failing does not send the first three again.

use jobcell_sdk::http::Response;
use jobcell_sdk::prelude::*;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::email::Email;
use crate::fault::Fault;
use crate::outgoing::Outgoing;
use crate::overlay::Overlay;
use crate::slack::Slack;
use crate::template::Renderer;
use crate::webhook::Webhook;
use crate::whatsapp::Whatsapp;

/// What a producer enqueues under the name `notify`.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Notice {
    /// Where to, and by what.
    channel: Channel,
    /// What to say; its shape depends on the channel. Webhook and overlay send the data as it is without one.
    #[serde(default)]
    template: Option<Value>,
    /// What the template's paths refer to.
    #[serde(default)]
    data: Value,
    /// Seconds for the request, 1 to 60, default 10.
    #[serde(default)]
    timeout_secs: Option<u64>,
}

/// The channels, each under its own name.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Channel {
    Webhook(Webhook),
    Slack(Slack),
    Whatsapp(Whatsapp),
    Email(Email),
    Overlay(Overlay),
}

/// What `notify` answers. Taken by the receiving service, which is not the same as read by the recipient.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Delivered {
    /// Always true; everything else is a failure.
    delivered: bool,
    /// The channel's name.
    channel: &'static str,
    /// The answer's status; absent for `overlay`.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    /// The service's own id of the message, where it gives one.
    #[serde(skip_serializing_if = "Option::is_none")]
    message_id: Option<String>,
    /// What went along, to find the message again at the receiver.
    idempotency_key: String,
}

impl Delivered {
    /// Taken by this channel.
    pub fn by(channel: &'static str, out: &Outgoing) -> Self {
        let idempotency_key = out.idempotency_key.clone();
        Self { delivered: true, channel, status: None, message_id: None, idempotency_key }
    }

    /// With this answer and the id found in it.
    #[must_use]
    pub fn answered(self, response: &Response, message_id: Option<String>) -> Self {
        Self { status: Some(response.status), message_id, ..self }
    }
}

/// Sends the job's message.
///
/// # Errors
/// As the crate's documentation lists them.
pub fn send(job: &Job<Notice>) -> Result<Delivered, Failure> {
    let Notice { channel, template, data, timeout_secs } = &job.data;
    let out = &Outgoing::new(job, *timeout_secs)?;
    let renderer = &mut Renderer::new(data);
    let template = template.as_ref();
    match channel {
        Channel::Webhook(webhook) => webhook.notify(out, renderer, template, data),
        Channel::Slack(slack) => slack.notify(out, renderer, template),
        Channel::Whatsapp(whatsapp) => whatsapp.notify(out, renderer, template),
        Channel::Email(email) => email.notify(out, renderer, template),
        Channel::Overlay(overlay) => overlay.notify(job, out, renderer, template, data),
    }
}

/// Reads a template as the channel's own shape.
///
/// # Errors
/// With the path of what is missing or does not belong there.
pub fn decode<T: DeserializeOwned>(place: &str, template: Option<&Value>) -> Result<T, Fault> {
    let template = template.ok_or_else(|| Fault::new(place, "is missing, and this channel needs one"))?;
    serde_path_to_error::deserialize(template).map_err(|fault| {
        let inner = match fault.path().iter().next() {
            Some(_) => format!("{place}.{}", fault.path()),
            None => place.to_owned(),
        };
        Fault::new(inner, fault.inner().to_string())
    })
}
