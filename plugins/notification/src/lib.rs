//! The notification handler: one message, over one channel, to one recipient.
//!
//! | job name | does | payload |
//! |---|---|---|
//! | `notify` | fills a template from data, escaped for the channel, and sends it | [`notice::Notice`] |
//!
//! | channel | sends | idempotency beside the `Idempotency-Key` header |
//! |---|---|---|
//! | `webhook` | JSON POST signed with HMAC-SHA256 by the host | — |
//! | `slack` | an incoming webhook's message, with blocks or without | — (Slack has none) |
//! | `whatsapp` | a text or an approved template through the Cloud API | `biz_opaque_callback_data` |
//! | `email` | through Resend, Postmark or SendGrid | Resend: its own; others: a header of the message |
//! | `overlay` | a message on one of the host's channels, to one tenant | `idempotencyKey` in the message |
//!
//! | finding | failure |
//! |---|---|
//! | payload or template wrong, variable missing, value that cannot stand in its place | invalid, with the path |
//! | 429, and 503 with `Retry-After` | retry after that time (seconds or date, at most 1 h; 30 s when not told) |
//! | 5xx, 408, 425, timeout, no connection | retry |
//! | other 4xx, redirects | fatal, with the beginning of the answer |
//! | host, method, secret or channel not granted | fatal, with the grant that is missing |
//!
//! A message whose answer was lost is sent again with the same key; only the receiver can tell that it has it.
//! README.md beside this crate has payloads to copy and the grants that the handler needs.

pub mod answer;
pub mod email;
pub mod fault;
pub mod html;
pub mod notice;
pub mod outgoing;
pub mod overlay;
pub mod slack;
pub mod template;
#[cfg(test)]
mod tests;
pub mod webhook;
pub mod whatsapp;

use jobcell_sdk::prelude::*;
use notice::{Delivered, Notice};

/// Job `notify`: sends one message.
#[handler]
fn notify(job: Job<Notice>) -> Result<Delivered, Failure> {
    notice::send(&job)
}

plugin!(notify);
