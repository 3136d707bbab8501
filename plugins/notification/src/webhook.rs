//! Channel `webhook`: a signed JSON POST to the receiver's own endpoint.
//!
//! The receiver recomputes HMAC-SHA256 of `<t>.<raw body>` with the shared secret, compares it with `v1` in
//! constant time, and refuses a `t` that is more than a few minutes off. `Idempotency-Key` tells a repeated
//! delivery from a new one.

use std::collections::BTreeMap;

use jobcell_sdk::prelude::*;
use jobcell_sdk::secrets::{self, Algorithm};
use jobcell_sdk::time;
use serde::Deserialize;
use serde_json::Value;

use crate::fault::Fault;
use crate::notice::Delivered;
use crate::outgoing::{Outgoing, secret_fault};
use crate::template::Renderer;

/// The signature's header: `t=<seconds since the epoch>,v1=<hex>`.
pub const SIGNATURE_HEADER: &str = "X-Jobcell-Signature";
/// The secret that signs when the payload names none.
const SECRET_DEFAULT: &str = "notification-webhook";
/// Headers that this channel or the protocol sets. Another value would break the request or the signature.
const RESERVED: &[&str] = &[
    "connection",
    "content-length",
    "content-type",
    "expect",
    "host",
    "http2-settings",
    "idempotency-key",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "x-jobcell-signature",
];

/// Where to.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// The endpoint. Its host must be among the handler's grants.
    url: String,
    /// Name of the secret that signs; default `notification-webhook`.
    #[serde(default)]
    secret: Option<String>,
    /// More headers for the request, such as the receiver's event name. Not for credentials: the payload is no
    /// place for them, and the signature authenticates.
    #[serde(default)]
    headers: BTreeMap<String, String>,
}

impl Webhook {
    /// Fills the template, or takes the data as it is where there is none, and delivers it.
    ///
    /// # Errors
    /// As the crate's documentation lists them.
    pub fn notify(
        &self,
        out: &Outgoing,
        renderer: &mut Renderer<'_>,
        template: Option<&Value>,
        data: &Value,
    ) -> Result<Delivered, Failure> {
        self.check_headers()?;
        let message = template.map(|template| renderer.tree("template", template)).transpose()?;
        let body = message.as_ref().unwrap_or(data).to_string().into_bytes();
        let signature = self.sign(time::now_ms() / 1_000, &body)?;
        let request = out.post(&self.url, body).header(SIGNATURE_HEADER, signature);
        let request = self.headers.iter().fold(request, |request, (name, value)| request.header(name, value));
        let response = out.deliver(request, "the webhook")?;
        Ok(Delivered::by("webhook", out).answered(&response, None))
    }

    fn sign(&self, at_secs: u64, body: &[u8]) -> Result<String, Failure> {
        let secret = self.secret.as_deref().unwrap_or(SECRET_DEFAULT);
        let message = [at_secs.to_string().as_bytes(), b".", body].concat();
        let mac = secrets::hmac(secret, Algorithm::Sha256, message)
            .map_err(|error| secret_fault(secret, &error))?;
        Ok(format!("t={at_secs},v1={}", hex::encode(mac)))
    }

    fn check_headers(&self) -> Result<(), Fault> {
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        for (name, value) in &self.headers {
            let place = || format!("channel.webhook.headers.{name:?}");
            let lower = name.to_ascii_lowercase();
            if name.is_empty() || !name.bytes().all(is_token) {
                return Err(Fault::new(place(), "is not a header's name"));
            }
            if RESERVED.contains(&&*lower) || lower.starts_with("proxy-") {
                return Err(Fault::new(place(), "is set by the channel or the protocol, leave it out"));
            }
            if value.chars().any(char::is_control) {
                return Err(Fault::new(
                    place(),
                    "has a line break or another control character in its value",
                ));
            }
        }
        Ok(())
    }
}
