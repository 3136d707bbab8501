//! Channel `slack`: an incoming webhook of Slack, or of what understands the same (Mattermost, Rocket.Chat,
//! Discord's `/slack` endpoints).
//!
//! `&`, `<` and `>` in values become entities, so that no value is a link, a mention of everybody or a date. Slack
//! has no escape for `*bold*` and its kin; a value can look bold, and nothing more.

use std::borrow::Cow;

use jobcell_sdk::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::fault::Fault;
use crate::notice::{Delivered, decode};
use crate::outgoing::{Outgoing, placeholder};
use crate::template::{Escape, Renderer, header, plain};

/// Stands in the URL for its secret part.
const SECRET_MARK: &str = "{secret}";
/// Slack's limit of blocks in one message.
const BLOCKS_MAX: usize = 50;
/// Slack cuts longer texts; saying so beats a cut receipt.
const TEXT_CHARS_MAX: usize = 40_000;

/// Where to.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slack {
    /// The incoming webhook's URL. Who knows it can post, so its last part is better kept as a secret of the host:
    /// `https://hooks.slack.com/services/T0000/B0000/{secret}` with `secret` beside it. The host puts the secret
    /// there as one segment of the path, any slash in it encoded.
    url: String,
    /// Name of the secret that stands for `{secret}` in the URL.
    #[serde(default)]
    secret: Option<String>,
}

/// What to say.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Message {
    /// In mrkdwn; with blocks it is what notifications show.
    text: String,
    /// Block Kit blocks; every text in them is a template too.
    #[serde(default)]
    blocks: Option<Vec<Value>>,
}

impl Slack {
    /// Fills the template and posts it.
    ///
    /// # Errors
    /// As the crate's documentation lists them.
    pub fn notify(
        &self,
        out: &Outgoing,
        renderer: &mut Renderer<'_>,
        template: Option<&Value>,
    ) -> Result<Delivered, Failure> {
        let body = body(renderer, decode("template", template)?)?;
        let request = out.post(&self.url()?, body.to_string().into_bytes());
        let response = out.deliver(request, "the Slack message")?;
        Ok(Delivered::by("slack", out).answered(&response, None))
    }

    fn url(&self) -> Result<Cow<'_, str>, Failure> {
        match (self.url.contains(SECRET_MARK), &self.secret) {
            (false, None) => Ok(Cow::Borrowed(&self.url)),
            (true, Some(secret)) => Ok(Cow::Owned(self.url.replace(SECRET_MARK, &placeholder(secret)?))),
            (true, None) => {
                Err(Fault::new("channel.slack.secret", "is missing: the url has `{secret}` in it").into())
            }
            (false, Some(_)) => {
                Err(Fault::new("channel.slack.url", "has no `{secret}` in it, where `secret` would go")
                    .into())
            }
        }
    }
}

fn body(renderer: &mut Renderer<'_>, message: Message) -> Result<Value, Fault> {
    let Message { text, blocks } = message;
    let text = renderer.text("template.text", &text, mrkdwn)?;
    if text.trim().is_empty() {
        return Err(Fault::new("template.text", "is empty, and Slack refuses that"));
    }
    if text.chars().count() > TEXT_CHARS_MAX {
        return Err(Fault::new("template.text", format!("is over {TEXT_CHARS_MAX} characters when filled")));
    }
    let mut body = json!({ "text": text });
    if let Some(blocks) = blocks {
        if blocks.len() > BLOCKS_MAX {
            return Err(Fault::new("template.blocks", format!("has over {BLOCKS_MAX} blocks")));
        }
        body["blocks"] = renderer.texts("template.blocks", &Value::Array(blocks), "", escape_of)?;
    }
    Ok(body)
}

/// Members of blocks that are texts for readers are escaped; addresses and identifiers are not texts.
fn escape_of(member: &str) -> Escape {
    let is_identifier = matches!(member, "value" | "type" | "style") || member.ends_with("_id");
    match member == "url" || member.ends_with("_url") || is_identifier {
        true => header,
        false => mrkdwn,
    }
}

/// The three characters with a meaning, as Slack's entities; control characters left out.
fn mrkdwn(value: &str) -> Result<Cow<'_, str>, &'static str> {
    let value = plain(value)?;
    if !value.contains(['&', '<', '>']) {
        return Ok(value);
    }
    Ok(Cow::Owned(value.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(template: Value, data: Value) -> Result<Value, String> {
        let message = decode("template", Some(&template)).map_err(|fault| fault.to_string())?;
        body(&mut Renderer::new(&data), message).map_err(|fault| fault.to_string())
    }

    #[test]
    fn values_cannot_mention_everybody_or_make_links() {
        let data = json!({"name": "<!channel> <https://evil|click> & \u{7}*x*"});
        let body = filled(json!({"text": "*New* from {{name}} <https://ours|here>"}), data).unwrap();
        let expected = "*New* from &lt;!channel&gt; &lt;https://evil|click&gt; &amp; *x* <https://ours|here>";
        assert_eq!(body, json!({ "text": expected }));
    }

    #[test]
    fn blocks_are_filled_with_addresses_left_whole() {
        let template = json!({"text": "t", "blocks": [{"type": "section", "text": {"type": "mrkdwn", "text": "{{v}}"},
            "fields": [{"type": "mrkdwn", "text": "a {{v}}"}],
            "accessory": {"type": "button", "url": "https://x/?a=1&b={{v}}", "value": "{{v}}", "action_id": "a"}}]});
        let body = filled(template, json!({"v": "<&>"})).unwrap();
        let block = &body["blocks"][0];
        assert_eq!(block["text"]["text"], "&lt;&amp;&gt;");
        assert_eq!(block["fields"][0]["text"], "a &lt;&amp;&gt;");
        assert_eq!(block["accessory"]["url"], "https://x/?a=1&b=<&>");
        assert_eq!(block["accessory"]["value"], "<&>");
    }

    #[test]
    fn messages_that_slack_would_refuse_or_cut_are_faults() {
        for (template, told) in [
            (json!({"text": " "}), "template.text: is empty"),
            (json!({"text": "x".repeat(40_001)}), "40000 characters"),
            (json!({"text": "x", "blocks": vec![json!({}); 51]}), "over 50 blocks"),
            (json!({"text": "x", "block": []}), "block"),
            (json!({"blocks": []}), "text"),
            (json!("x"), "template"),
        ] {
            let fault = filled(template, json!({})).unwrap_err();
            assert!(fault.contains(told), "{fault}");
        }
    }
}
