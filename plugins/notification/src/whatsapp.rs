//! Channel `whatsapp`: one message through Meta's WhatsApp Cloud API, as free text (inside the 24 hours after the
//! recipient's last message) or from a template that Meta has approved.

use std::borrow::Cow;
use std::collections::BTreeMap;

use jobcell_sdk::http::Response;
use jobcell_sdk::prelude::*;
use jobcell_sdk::time;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::answer::{self, REST_DEFAULT};
use crate::fault::Fault;
use crate::notice::{Delivered, decode};
use crate::outgoing::{Outgoing, placeholder};
use crate::template::{Renderer, plain};

/// The Graph API's version when the payload names none; Meta keeps one for about two years.
const VERSION_DEFAULT: &str = "v23.0";
const BASE_URL: &str = "https://graph.facebook.com";
/// The access token's secret when the payload names none.
const SECRET_DEFAULT: &str = "whatsapp";
/// The Cloud API's limit for a text.
const TEXT_CHARS_MAX: usize = 4_096;
/// Meta's limit for the text it repeats in its status webhooks.
const CALLBACK_CHARS_MAX: usize = 512;
/// "Too many" in Meta's codes, which come with status 400 as well: app, account, throughput, one recipient.
const CODES_TOO_MANY: &[i64] = &[4, 80_007, 130_429, 131_056];
/// "Not now" in Meta's codes, whatever the status: unknown and service errors, temporary unavailability.
const CODES_NOT_NOW: &[i64] = &[1, 2, 131_000, 131_016, 133_004];

/// From and to where.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Whatsapp {
    /// Meta's id of the sending number: digits, not the number itself.
    phone_number_id: String,
    /// The recipient's number with country code: digits, a leading `+` allowed.
    to: String,
    /// Name of the secret with the access token; default `whatsapp`.
    #[serde(default)]
    secret: Option<String>,
    /// Version of the Graph API, e.g. `v23.0`.
    #[serde(default)]
    version: Option<String>,
    /// Where the API is; default Meta's. The grant of the secret decides which hosts ever see the token.
    #[serde(default)]
    base_url: Option<String>,
}

/// What to say: one of the two.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Message {
    #[serde(default)]
    text: Option<Text>,
    #[serde(default)]
    approved: Option<Approved>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    body: String,
    /// Show a preview of the first link.
    #[serde(default)]
    preview_url: bool,
}

/// A template approved by Meta and its parameters, each of them a template here.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Approved {
    name: String,
    /// As Meta spells it, e.g. `en_US`.
    language: String,
    #[serde(default)]
    header: Parameters,
    #[serde(default)]
    body: Parameters,
    #[serde(default)]
    buttons: Vec<Button>,
}

/// By position, or by name for templates with named parameters.
#[derive(Deserialize)]
#[serde(untagged)]
enum Parameters {
    Positional(Vec<String>),
    Named(BTreeMap<String, String>),
}

impl Default for Parameters {
    fn default() -> Self {
        Self::Positional(Vec::new())
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Button {
    /// Counted from 0, as in the template.
    index: u8,
    kind: ButtonKind,
    /// The changing end of the link, or the payload that a reply brings back.
    text: String,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ButtonKind {
    Url,
    QuickReply,
}

impl Whatsapp {
    /// Fills the template and sends it.
    ///
    /// # Errors
    /// As the crate's documentation lists them.
    pub fn notify(
        &self,
        out: &Outgoing,
        renderer: &mut Renderer<'_>,
        template: Option<&Value>,
    ) -> Result<Delivered, Failure> {
        let url = self.url()?;
        let mut body = body(renderer, decode("template", template)?)?;
        body["messaging_product"] = json!("whatsapp");
        body["recipient_type"] = json!("individual");
        body["to"] = json!(self.recipient()?);
        // The API takes no idempotency key; this comes back in the message's status webhooks, so that a duplicate
        // after a lost answer can at least be seen.
        body["biz_opaque_callback_data"] =
            json!(out.idempotency_key.chars().take(CALLBACK_CHARS_MAX).collect::<String>());
        let token = placeholder(self.secret.as_deref().unwrap_or(SECRET_DEFAULT))?;
        let request = out.post(&url, body.to_string().into_bytes()).bearer(token);
        let what = "the WhatsApp message";
        let response = out.send(request, what)?;
        judge(&response, what, time::now_ms())?;
        let id = response
            .json::<Value>()
            .ok()
            .and_then(|json| Some(json["messages"][0]["id"].as_str()?.to_owned()));
        Ok(Delivered::by("whatsapp", out).answered(&response, id))
    }

    fn url(&self) -> Result<String, Fault> {
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number(&self.phone_number_id) {
            return Err(Fault::new("channel.whatsapp.phone_number_id", "is not a number of digits only"));
        }
        let version = self.version.as_deref().unwrap_or(VERSION_DEFAULT);
        let parts = version.strip_prefix('v').and_then(|number| number.split_once('.'));
        if !parts.is_some_and(|(major, minor)| is_number(major) && is_number(minor)) {
            return Err(Fault::new("channel.whatsapp.version", "is not of the form `v23.0`"));
        }
        let base_url = self.base_url.as_deref().unwrap_or(BASE_URL).trim_end_matches('/');
        Ok(format!("{base_url}/{version}/{}/messages", self.phone_number_id))
    }

    fn recipient(&self) -> Result<&str, Fault> {
        let digits = self.to.strip_prefix('+').unwrap_or(&self.to);
        // E.164: at most 15 digits; no country has numbers under 5 with its code.
        if (5..=15).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Ok(digits);
        }
        Err(Fault::new(
            "channel.whatsapp.to",
            "is not a number with country code: 5 to 15 digits, `+` allowed",
        ))
    }
}

fn body(renderer: &mut Renderer<'_>, message: Message) -> Result<Value, Fault> {
    match message {
        Message { text: Some(text), approved: None } => {
            let filled = renderer.text("template.text.body", &text.body, plain)?;
            if filled.trim().is_empty() || filled.chars().count() > TEXT_CHARS_MAX {
                let problem = format!("is empty or over {TEXT_CHARS_MAX} characters when filled");
                return Err(Fault::new("template.text.body", problem));
            }
            Ok(json!({ "type": "text", "text": { "body": filled, "preview_url": text.preview_url } }))
        }
        Message { text: None, approved: Some(approved) } => {
            let mut components = Vec::new();
            for (kind, parameters) in [("header", &approved.header), ("body", &approved.body)] {
                let filled = fill(renderer, kind, parameters)?;
                if !filled.is_empty() {
                    components.push(json!({ "type": kind, "parameters": filled }));
                }
            }
            for (at, button) in approved.buttons.iter().enumerate() {
                components.push(fill_button(renderer, at, button)?);
            }
            let language = json!({ "code": approved.language });
            let template = json!({ "name": approved.name, "language": language, "components": components });
            Ok(json!({ "type": "template", "template": template }))
        }
        Message { text: None, approved: None } | Message { text: Some(_), approved: Some(_) } => {
            Err(Fault::new("template", "has either `text` or `approved`"))
        }
    }
}

fn fill(renderer: &mut Renderer<'_>, kind: &str, parameters: &Parameters) -> Result<Vec<Value>, Fault> {
    let place = |name: &dyn std::fmt::Display| format!("template.approved.{kind}.{name}");
    match parameters {
        Parameters::Positional(texts) => {
            let mut fill = |(index, text): (usize, &String)| {
                Ok(json!({ "type": "text", "text": parameter(renderer, &place(&index), text)? }))
            };
            texts.iter().enumerate().map(&mut fill).collect()
        }
        Parameters::Named(texts) => {
            let mut fill = |(name, text): (&String, &String)| {
                let text = parameter(renderer, &place(name), text)?;
                Ok(json!({ "type": "text", "parameter_name": name, "text": text }))
            };
            texts.iter().map(&mut fill).collect()
        }
    }
}

fn fill_button(renderer: &mut Renderer<'_>, at: usize, button: &Button) -> Result<Value, Fault> {
    let text = parameter(renderer, &format!("template.approved.buttons.{at}.text"), &button.text)?;
    let (kind, parameter) = match button.kind {
        ButtonKind::Url => ("url", json!({ "type": "text", "text": text })),
        ButtonKind::QuickReply => ("quick_reply", json!({ "type": "payload", "payload": text })),
    };
    Ok(
        json!({ "type": "button", "sub_type": kind, "index": button.index.to_string(), "parameters": [parameter] }),
    )
}

/// A parameter may be neither empty nor hold line breaks, tabs or many blanks in a row, or Meta refuses the
/// message.
fn parameter(renderer: &mut Renderer<'_>, place: &str, template: &str) -> Result<String, Fault> {
    let filled = one_line(&renderer.text(place, template, plain)?).into_owned();
    if filled.is_empty() {
        Err(Fault::new(place, "is empty when filled, and Meta refuses that"))
    } else {
        Ok(filled)
    }
}

/// Blanks of every kind, each run as one space.
fn one_line(text: &str) -> Cow<'_, str> {
    Cow::Owned(text.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// Meta's own code counts before the status: throttling comes as 400 too.
fn judge(response: &Response, what: &str, now_ms: u64) -> Result<(), Failure> {
    let code = response.json::<Value>().ok().and_then(|json| json["error"]["code"].as_i64());
    match (code, answer::judge(response, what, now_ms)) {
        (Some(code), Err(Failure::Fatal(reason) | Failure::Retry(reason)))
            if CODES_TOO_MANY.contains(&code) =>
        {
            let rest = response.header("retry-after").and_then(|value| answer::retry_after(value, now_ms));
            Err(Failure::retry_after(reason, rest.unwrap_or(REST_DEFAULT)))
        }
        (Some(code), Err(Failure::Fatal(reason))) if CODES_NOT_NOW.contains(&code) => {
            Err(Failure::Retry(reason))
        }
        (_, judged) => judged,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(template: Value, data: Value) -> Result<Value, String> {
        let message = decode("template", Some(&template)).map_err(|fault| fault.to_string())?;
        body(&mut Renderer::new(&data), message).map_err(|fault| fault.to_string())
    }

    #[test]
    fn a_text_keeps_its_lines_and_loses_control_characters() {
        let body =
            filled(json!({"text": {"body": "Hi {{n}},\nthanks"}}), json!({"n": "A\u{202}\u{1b}da"})).unwrap();
        assert_eq!(body["text"], json!({"body": "Hi A\u{202}da,\nthanks", "preview_url": false}));
        assert_eq!(body["type"], "text");
    }

    #[test]
    fn an_approved_template_gets_its_parameters_on_one_line() {
        let template = json!({"approved": {"name": "receipt", "language": "en_US", "header": {"order": "{{id}}"},
            "body": ["{{name}}", "{{amount}} USD"],
            "buttons": [{"index": 0, "kind": "url", "text": "{{id}}"}, {"index": 1, "kind": "quick_reply", "text": "x"}]}});
        let body = filled(template, json!({"id": "7", "name": "Ada\n  \tL.", "amount": 5})).unwrap();
        assert_eq!(
            body["template"],
            json!({"name": "receipt", "language": {"code": "en_US"}, "components": [
                {"type": "header", "parameters": [{"type": "text", "parameter_name": "order", "text": "7"}]},
                {"type": "body", "parameters": [{"type": "text", "text": "Ada L."}, {"type": "text", "text": "5 USD"}]},
                {"type": "button", "sub_type": "url", "index": "0", "parameters": [{"type": "text", "text": "7"}]},
                {"type": "button", "sub_type": "quick_reply", "index": "1",
                 "parameters": [{"type": "payload", "payload": "x"}]},
            ]})
        );
    }

    #[test]
    fn messages_that_meta_would_refuse_are_faults() {
        let long = json!({"text": {"body": "x".repeat(4_097)}});
        for (template, told) in [
            (json!({}), "either"),
            (json!({"text": {"body": "x"}, "approved": {"name": "n", "language": "en"}}), "either"),
            (json!({"text": {"body": "{{v}}"}}), "is empty"),
            (long, "4096"),
            (
                json!({"approved": {"name": "n", "language": "en", "body": ["{{v}}"]}}),
                "template.approved.body.0",
            ),
            (json!({"approved": {"name": "n"}}), "template.approved"),
            (json!({"text": {"body": "x", "preview": true}}), "preview"),
        ] {
            let fault = filled(template, json!({"v": " \n"})).unwrap_err();
            assert!(fault.contains(told), "{told}: {fault}");
        }
    }

    #[test]
    fn metas_code_counts_before_the_status() {
        let judged = |status, code: i64| {
            judge(
                &Response::new(status).with_json(&json!({"error": {"code": code, "message": "m"}})),
                "it",
                0,
            )
        };
        for code in CODES_TOO_MANY {
            for status in [400, 403, 429, 500] {
                assert!(matches!(judged(status, *code), Err(Failure::RetryAfter { .. })), "{status} {code}");
            }
        }
        for code in CODES_NOT_NOW {
            assert!(matches!(judged(400, *code), Err(Failure::Retry(_))), "{code}");
        }
        assert!(matches!(judged(400, 131_026), Err(Failure::Fatal(_))));
        assert!(matches!(judged(500, 131_026), Err(Failure::Retry(_))));
        assert_eq!(judge(&Response::new(200), "it", 0), Ok(()));
    }
}
