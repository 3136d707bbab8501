//! Channel `email`: one transactional e-mail through a provider's HTTP API.
//!
//! The providers differ in names and nesting of the same five things; each one's shape is one function here.

use std::fmt::Write as _;

use jobcell_sdk::http::{Request, Response};
use jobcell_sdk::prelude::*;
use jobcell_sdk::time;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::answer;
use crate::fault::Fault;
use crate::notice::{Delivered, decode};
use crate::outgoing::{Outgoing, placeholder};
use crate::template::{Renderer, header, plain};

/// Longest line a mail may have (RFC 5322), and so longest subject, in bytes.
const SUBJECT_BYTES_MAX: usize = 998;
/// Longest address (RFC 5321), in bytes.
const ADDRESS_BYTES_MAX: usize = 254;
/// The message's own header for the key, where the provider's API takes none: it shows duplicates in the logs.
const KEY_HEADER: &str = "X-Idempotency-Key";

/// Where to.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Email {
    provider: Provider,
    /// Name of the secret with the API key; default `<provider>-api`.
    #[serde(default)]
    secret: Option<String>,
    from: Mailbox,
    to: Mailbox,
    #[serde(default)]
    reply_to: Option<Mailbox>,
    /// Where the API is; default the provider's. The grant of the secret decides which hosts ever see the key.
    #[serde(default)]
    base_url: Option<String>,
}

/// Whose API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Provider {
    Resend,
    Postmark,
    Sendgrid,
}

/// An address, with a name for people or without.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Mailbox {
    email: String,
    #[serde(default)]
    name: Option<String>,
}

/// What to say: a subject, and at least one of the bodies.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Message {
    subject: String,
    #[serde(default)]
    html: Option<String>,
    #[serde(default)]
    text: Option<String>,
}

impl Email {
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
        let boxes =
            [("from", Some(&self.from)), ("to", Some(&self.to)), ("reply_to", self.reply_to.as_ref())];
        for (field, mailbox) in boxes {
            mailbox.map_or(Ok(()), |mailbox| mailbox.check(&format!("channel.email.{field}")))?;
        }
        let message = decode::<Message>("template", template)?.filled(renderer)?;
        let request = self.request(out, &message)?;
        let what = "the e-mail";
        let response = out.send(request, what)?;
        self.judge(&response, what)?;
        let id = self.provider.message_id(&response);
        Ok(Delivered::by("email", out).answered(&response, id))
    }

    fn request(&self, out: &Outgoing, message: &Message) -> Result<Request, Failure> {
        let provider = self.provider;
        let (base_url, path, secret) = match provider {
            Provider::Resend => ("https://api.resend.com", "emails", "resend-api"),
            Provider::Postmark => ("https://api.postmarkapp.com", "email", "postmark-api"),
            Provider::Sendgrid => ("https://api.sendgrid.com", "v3/mail/send", "sendgrid-api"),
        };
        let body = match provider {
            Provider::Resend => self.resend(message),
            Provider::Postmark => self.postmark(message, &out.idempotency_key),
            Provider::Sendgrid => self.sendgrid(message, &out.idempotency_key),
        };
        let base_url = self.base_url.as_deref().unwrap_or(base_url).trim_end_matches('/');
        let key = placeholder(self.secret.as_deref().unwrap_or(secret))?;
        let request = out.post(&format!("{base_url}/{path}"), body.to_string().into_bytes());
        let request = request.header("Accept", "application/json");
        Ok(match provider {
            Provider::Resend | Provider::Sendgrid => request.bearer(key),
            Provider::Postmark => request.header("X-Postmark-Server-Token", key),
        })
    }

    /// Resend: addresses as texts; the `Idempotency-Key` header is its own mechanism, good for 24 hours.
    fn resend(&self, message: &Message) -> Value {
        let mut body = json!({
            "from": self.from.to_string(),
            "to": [self.to.to_string()],
            "subject": message.subject,
        });
        let reply_to = self.reply_to.as_ref().map(Mailbox::to_string);
        set(&mut body, &[("reply_to", &reply_to), ("html", &message.html), ("text", &message.text)]);
        body
    }

    /// Postmark: capitalised members; no idempotency, so the key goes into a header of the message.
    fn postmark(&self, message: &Message, key: &str) -> Value {
        let mut body = json!({
            "From": self.from.to_string(),
            "To": self.to.to_string(),
            "Subject": message.subject,
            "Headers": [{ "Name": KEY_HEADER, "Value": key }],
        });
        let reply_to = self.reply_to.as_ref().map(Mailbox::to_string);
        set(&mut body, &[("ReplyTo", &reply_to), ("HtmlBody", &message.html), ("TextBody", &message.text)]);
        body
    }

    /// SendGrid: addresses as objects, bodies as a list with the plain one first; the key as a custom argument,
    /// which its event webhook gives back.
    fn sendgrid(&self, message: &Message, key: &str) -> Value {
        let bodies = [("text/plain", &message.text), ("text/html", &message.html)];
        let content = bodies
            .into_iter()
            .filter_map(|(kind, body)| Some(json!({ "type": kind, "value": body.as_ref()? })));
        let mut body = json!({
            "personalizations": [{ "to": [self.to.json()], "custom_args": { "idempotency_key": key } }],
            "from": self.from.json(),
            "subject": message.subject,
            "content": content.collect::<Vec<_>>(),
            "headers": { KEY_HEADER: key },
        });
        if let Some(reply_to) = &self.reply_to {
            body["reply_to"] = reply_to.json();
        }
        body
    }

    /// The common judgement, but for Resend's 409 while the same key is being worked on: the first request's
    /// answer was lost, and asking again later brings it back.
    fn judge(&self, response: &Response, what: &str) -> Result<(), Failure> {
        let judged = answer::judge(response, what, time::now_ms());
        let is_concurrent = self.provider == Provider::Resend
            && response.status == 409
            && response.json::<Value>().is_ok_and(|json| json["name"] == "concurrent_idempotent_requests");
        match judged {
            Err(Failure::Fatal(reason)) if is_concurrent => Err(Failure::Retry(reason)),
            judged => judged,
        }
    }
}

impl Provider {
    fn message_id(self, response: &Response) -> Option<String> {
        let member =
            |name: &str| response.json::<Value>().ok().and_then(|json| Some(json[name].as_str()?.to_owned()));
        match self {
            Self::Resend => member("id"),
            Self::Postmark => member("MessageID"),
            Self::Sendgrid => response.header("x-message-id").map(str::to_owned),
        }
    }
}

impl Mailbox {
    /// Refuses what could add recipients or headers, and what is no address at all. Whether anybody reads mail
    /// there only the provider can tell.
    fn check(&self, place: &str) -> Result<(), Fault> {
        let Self { email, name } = self;
        let odd = |c: char| c.is_control() || c.is_whitespace() || "<>,;:\"()[]\\".contains(c);
        let parts = email.split_once('@');
        let has_parts = parts
            .is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty() && !domain.contains('@'));
        if !has_parts || email.len() > ADDRESS_BYTES_MAX || email.contains(odd) {
            return Err(Fault::new(format!("{place}.email"), "is not one address like `ada@example.com`"));
        }
        if name.as_deref().is_some_and(|name| name.chars().any(char::is_control)) {
            return Err(Fault::new(
                format!("{place}.name"),
                "holds a line break or another control character",
            ));
        }
        Ok(())
    }

    fn json(&self) -> Value {
        let mut json = json!({ "email": self.email });
        set(&mut json, &[("name", &self.name)]);
        json
    }
}

/// `ada@example.com`, or `"Ada" <ada@example.com>` with the name quoted, so that a comma in it starts no recipient.
impl std::fmt::Display for Mailbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Some(name) = &self.name else { return f.write_str(&self.email) };
        f.write_char('"')?;
        for c in name.chars() {
            if matches!(c, '"' | '\\') {
                f.write_char('\\')?;
            }
            f.write_char(c)?;
        }
        write!(f, "\" <{}>", self.email)
    }
}

impl Message {
    /// Every text filled and escaped for its place.
    fn filled(self, renderer: &mut Renderer<'_>) -> Result<Self, Fault> {
        let Self { subject, html, text } = self;
        if html.is_none() && text.is_none() {
            return Err(Fault::new("template", "has neither `html` nor `text`"));
        }
        let place = "template.subject";
        let subject = renderer.text(place, &subject, header)?;
        if subject.chars().any(char::is_control) {
            return Err(Fault::new(place, "holds a line break or another control character"));
        }
        if subject.trim().is_empty() || subject.len() > SUBJECT_BYTES_MAX {
            return Err(Fault::new(place, format!("is empty or over {SUBJECT_BYTES_MAX} bytes when filled")));
        }
        let html = html.map(|html| renderer.html("template.html", &html)).transpose()?;
        let text = text.map(|text| renderer.text("template.text", &text, plain)).transpose()?;
        Ok(Self { subject, html, text })
    }
}

/// Sets the members that there are; providers tell absent from `null`.
fn set(object: &mut Value, members: &[(&str, &Option<String>)]) {
    for (name, value) in members {
        if let Some(value) = value {
            object[*name] = json!(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mailbox(email: &str, name: Option<&str>) -> Mailbox {
        Mailbox { email: email.into(), name: name.map(str::to_owned) }
    }

    fn filled(template: Value, data: Value) -> Result<Message, String> {
        let message: Message = decode("template", Some(&template)).map_err(|fault| fault.to_string())?;
        message.filled(&mut Renderer::new(&data)).map_err(|fault| fault.to_string())
    }

    #[test]
    fn addresses_are_one_address() {
        for fine in ["ada@example.com", "a+b@mail.example", "ärger@exämple.de"] {
            assert_eq!(mailbox(fine, Some("Lovelace, Ada")).check("to"), Ok(()), "{fine}");
        }
        for wrong in [
            "",
            "ada",
            "@example.com",
            "ada@",
            "a@b@c",
            "a@b.c,d@e.f",
            "a@b.c;d@e.f",
            "A <a@b.c>",
            "a @b.c",
            "a@b.c\r\nBcc: d@e.f",
            "\"a\"@b.c",
            &format!("{}@b.c", "a".repeat(260)),
        ] {
            assert!(mailbox(wrong, None).check("to").is_err(), "{wrong:?}");
        }
        assert!(mailbox("a@b.c", Some("A\r\nBcc: d@e.f")).check("to").is_err());
    }

    #[test]
    fn names_are_quoted_so_that_they_add_no_recipient() {
        assert_eq!(mailbox("a@b.c", None).to_string(), "a@b.c");
        let odd = mailbox("a@b.c", Some(r#"x\" <d@e.f>, "Ada"#)).to_string();
        assert_eq!(odd, r#""x\\\" <d@e.f>, \"Ada" <a@b.c>"#);
    }

    #[test]
    fn each_part_is_escaped_in_its_own_way() {
        let template = json!({"subject": "Thanks, {{n}}", "html": "<b>{{n}}</b>", "text": "Hi {{n}}"});
        let message = filled(template, json!({"n": "<Ada> & Co"})).unwrap();
        assert_eq!(message.subject, "Thanks, <Ada> & Co");
        assert_eq!(message.html.as_deref(), Some("<b>&lt;Ada&gt; &amp; Co</b>"));
        assert_eq!(message.text.as_deref(), Some("Hi <Ada> & Co"));
    }

    #[test]
    fn subjects_cannot_add_headers() {
        let template = json!({"subject": "Thanks, {{n}}", "text": "x"});
        for value in ["Ada\r\nBcc: victim@example.com", "Ada\nX: y", "Ada\0"] {
            let fault = filled(template.clone(), json!({ "n": value })).err().unwrap();
            assert!(fault.starts_with("data.n: "), "{fault}");
            assert!(!fault.contains("victim"), "{fault}");
        }
        for (template, told) in [
            (json!({"subject": "a\nb", "text": "x"}), "template.subject"),
            (json!({"subject": " ", "text": "x"}), "is empty"),
            (json!({"subject": "s".repeat(999), "text": "x"}), "998"),
            (json!({"subject": "s"}), "neither"),
            (json!({"subject": "s", "body": "x"}), "body"),
            (json!({"text": "x"}), "subject"),
        ] {
            let fault = filled(template, json!({})).err().unwrap();
            assert!(fault.contains(told), "{told}: {fault}");
        }
    }
}
