//! Where in HTML a value stands, and how it is escaped there.
//!
//! Entities are enough between tags and inside quoted attributes. They are not enough in a link, where the value
//! could be a script, nor anywhere that is not text at all; so the author's markup is followed while it is filled,
//! and a placeholder in a place where no value is safe is refused.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Attributes whose value a browser or mail client follows.
const LINKS: &[&str] = &["href", "src", "action", "formaction", "background", "poster", "cite", "xlink:href"];
/// Attributes that hold code, or several links in a syntax of their own.
const CODE: &[&str] = &["style", "srcdoc", "srcset"];
/// What a link from a value may begin with.
const SCHEMES: &[&str] = &["https://", "http://", "mailto:", "tel:"];
/// Elements whose content is neither markup nor text with entities.
const RAW: &[&str] = &["script", "style", "xmp", "iframe", "noembed", "noframes", "plaintext"];

/// The place reached in the author's markup.
#[derive(Debug, Default)]
pub struct Context {
    place: Place,
    /// The element being opened, or the one whose raw content is read; with `/` in front when it closes.
    element: String,
    /// The attribute named last.
    attribute: String,
    /// What was read of an attribute's value, a comment's end, or a raw element's end.
    read: String,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Place {
    /// Between tags.
    #[default]
    Text,
    /// Directly after `<`, which may or may not open a tag.
    Open,
    ElementName,
    BetweenAttributes,
    AttributeName,
    AfterAttributeName,
    BeforeValue,
    Quoted(char),
    Unquoted,
    Comment,
    Raw,
}

impl Context {
    /// Follows the author's text.
    pub fn advance(&mut self, literal: &str) {
        literal.chars().for_each(|c| self.place = self.next(c));
    }

    /// Escapes a value for this place.
    ///
    /// # Errors
    /// Why no value, or not this one, can stand here.
    pub fn escape<'v>(&mut self, value: &'v str) -> Result<Cow<'v, str>, &'static str> {
        match self.place {
            Place::Text => Ok(entities(value)),
            Place::Quoted(_) if self.attribute.starts_with("on") || CODE.contains(&&*self.attribute) => {
                Err("no value is safe in a style, srcdoc, srcset or event attribute")
            }
            Place::Quoted(_) if LINKS.contains(&&*self.attribute) => self.escape_link(value),
            Place::Quoted(_) => Ok(entities(value)),
            Place::Comment => Err("no value is safe in a comment"),
            Place::Raw => Err("no value is safe in script, style and the like"),
            Place::Open
            | Place::ElementName
            | Place::BetweenAttributes
            | Place::AttributeName
            | Place::AfterAttributeName
            | Place::BeforeValue
            | Place::Unquoted => {
                Err("no value is safe inside a tag but outside of quotes; write attribute=\"{{path}}\"")
            }
        }
    }

    /// A value that begins a link must be a whole one; a value further on is one component of it.
    fn escape_link<'v>(&mut self, value: &'v str) -> Result<Cow<'v, str>, &'static str> {
        let is_whole = self.read.trim().is_empty();
        self.read.push_str(value);
        let link = self.read.trim_start().to_ascii_lowercase();
        let is_relative = !is_whole && link.starts_with(['/', '?', '#']);
        if !is_relative && !SCHEMES.iter().any(|scheme| link.starts_with(scheme)) {
            return Err("a link with a value in it must begin with https://, http://, mailto: or tel:");
        }
        Ok(if is_whole { entities(value) } else { Cow::Owned(url_component(value)) })
    }

    fn next(&mut self, c: char) -> Place {
        match (self.place, c) {
            (Place::Text | Place::Open, '<') => Place::Open,
            (Place::Text, _) => Place::Text,
            (Place::Open, '/' | '!' | '?' | 'a'..='z' | 'A'..='Z') => {
                self.element = c.to_ascii_lowercase().to_string();
                Place::ElementName
            }
            (Place::Open, _) => Place::Text,
            (Place::Quoted(quote), c) if c == quote => Place::BetweenAttributes,
            (Place::Quoted(_), c) => {
                self.read.push(c);
                self.place
            }
            (Place::Comment, c) => {
                self.read.push(c);
                if self.read.ends_with("-->") { Place::Text } else { Place::Comment }
            }
            (Place::Raw, c) => self.next_in_raw(c),
            (_, '>') => self.close_tag(),
            (place, c) => self.next_in_tag(place, c),
        }
    }

    fn next_in_tag(&mut self, place: Place, c: char) -> Place {
        match place {
            Place::ElementName if c.is_whitespace() || c == '/' => Place::BetweenAttributes,
            Place::ElementName => {
                self.element.push(c.to_ascii_lowercase());
                if self.element != "!--" {
                    return Place::ElementName;
                }
                self.read.clear();
                Place::Comment
            }
            Place::BeforeValue if c.is_whitespace() => Place::BeforeValue,
            Place::BeforeValue if c == '"' || c == '\'' => {
                self.read.clear();
                Place::Quoted(c)
            }
            Place::BeforeValue => Place::Unquoted,
            Place::Unquoted if !c.is_whitespace() => Place::Unquoted,
            Place::AttributeName | Place::AfterAttributeName if c == '=' => Place::BeforeValue,
            Place::AttributeName | Place::AfterAttributeName if c.is_whitespace() => {
                Place::AfterAttributeName
            }
            _ if c.is_whitespace() || c == '/' => Place::BetweenAttributes,
            _ => {
                // A name goes on, or the next one begins.
                if place != Place::AttributeName {
                    self.attribute.clear();
                }
                self.attribute.push(c.to_ascii_lowercase());
                Place::AttributeName
            }
        }
    }

    /// Only the exact closing tag ends it; staying too long merely refuses more.
    fn next_in_raw(&mut self, c: char) -> Place {
        if c == '<' {
            self.read.clear();
        }
        self.read.push(c.to_ascii_lowercase());
        let end = self.read.strip_prefix("</").and_then(|name| name.strip_prefix(&*self.element));
        if end == Some(">") { Place::Text } else { Place::Raw }
    }

    fn close_tag(&mut self) -> Place {
        self.read.clear();
        if RAW.contains(&&*self.element) { Place::Raw } else { Place::Text }
    }
}

/// The five characters with a meaning in markup, as entities.
pub fn entities(value: &str) -> Cow<'_, str> {
    if !value.contains(['&', '<', '>', '"', '\'']) {
        return Cow::Borrowed(value);
    }
    let mut out = String::with_capacity(value.len() + 16);
    for c in value.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    Cow::Owned(out)
}

/// One component of a URL: everything but letters, digits and `-._~` percent-encoded.
fn url_component(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for byte in value.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            byte => {
                // Writing to a String cannot fail.
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::template::Renderer;

    fn html(template: &str, value: &str) -> Result<String, String> {
        let data = json!({ "v": value });
        Renderer::new(&data).html("template.html", template).map_err(|fault| fault.to_string())
    }

    #[test]
    fn values_between_tags_and_in_quotes_become_entities() {
        let value = "<b a=\"1\" c='2'>&";
        let escaped = "&lt;b a=&quot;1&quot; c=&#39;2&#39;&gt;&amp;";
        for (before, after) in [
            ("<p>", "</p>"),
            ("<p class=x>a < b ", ""),
            ("<title>", "</title>"),
            ("<img alt=\"", "\">"),
            ("<img alt = '", "'/>"),
            ("<br/>", ""),
            ("<!-- <script> --><style>a{}</style>", ""),
            ("<!DOCTYPE html><STYLE>p{}</Style>", ""),
        ] {
            assert_eq!(
                html(&format!("{before}{{{{v}}}}{after}"), value).unwrap(),
                format!("{before}{escaped}{after}")
            );
        }
    }

    #[test]
    fn places_where_no_value_is_safe_are_refused() {
        for template in [
            "<{{v}}>",
            "<p {{v}}>",
            "<p class={{v}}>",
            "<p class= {{v}}>",
            "<p {{v}}=\"x\">",
            "<p x{{v}}>",
            "<!-- {{v}} -->",
            "<script>{{v}}</script>",
            "<SCRIPT src=x>var a = \"{{v}}\"",
            "<style>{{v}}</style>",
            "<script>a</scriptx>{{v}}",
            "<p onclick=\"{{v}}\">",
            "<p ONCLICK='f({{v}})'>",
            "<p style=\"color:{{v}}\">",
            "<iframe srcdoc=\"{{v}}\">",
            "<img srcset='{{v}} 2x'>",
            "</{{v}}>",
            "<a class=x{{v}}>",
        ] {
            assert!(html(template, "x").unwrap_err().contains("no value is safe"), "{template}");
        }
    }

    #[test]
    fn links_begin_with_a_harmless_scheme() {
        for (template, value) in [
            ("<a href=\"{{v}}\">", "javascript:alert(1)"),
            ("<a href=\"{{v}}\">", " JavaScript:alert(1)"),
            ("<a href='{{v}}'>", "data:text/html,x"),
            ("<a href='{{v}}'>", "//evil.example"),
            ("<a href='{{v}}'>", ""),
            ("<a class href='{{v}}'>", "java\nscript:x"),
            ("<a href='java{{v}}'>", "script:x"),
            ("<a href=\"javascript:f('{{v}}')\">", "x"),
            ("<img alt='' src = '{{v}}'>", "vbscript:x"),
            ("<a title=x href='{{v}}'>", "javascript:x"),
            ("<a title=''href='{{v}}'>", "javascript:x"),
        ] {
            assert!(html(template, value).unwrap_err().contains("must begin with"), "{template} {value}");
        }
        let link = "https://example.com/?a=1&b=\"2\"";
        assert_eq!(
            html("<a href=\"{{v}}\">", link).unwrap(),
            "<a href=\"https://example.com/?a=1&amp;b=&quot;2&quot;\">"
        );
        assert!(html("<a HREF='{{v}}'>", "MAILTO:a@example.com").is_ok());
    }

    #[test]
    fn a_value_inside_a_link_is_one_component() {
        let value = "a&b=c/../d?#é";
        let component = "a%26b%3Dc%2F..%2Fd%3F%23%C3%A9";
        for before in ["<a href=\"https://example.com/?q=", "<a href=\"/thanks/", "<a href=\"#"] {
            assert_eq!(
                html(&format!("{before}{{{{v}}}}\">"), value).unwrap(),
                format!("{before}{component}\">")
            );
        }
        let two = json!({"base": "https://example.com", "id": "a/b"});
        let filled = Renderer::new(&two).html("t", "<a href=\"{{base}}/{{id}}\">").unwrap();
        assert_eq!(filled, "<a href=\"https://example.com/a%2Fb\">");
    }

    #[test]
    fn no_value_ever_leaves_its_place() {
        // Whatever is filled in, the markup around it has the same tags as with a harmless value.
        let templates = [
            "<p>{{v}}</p>",
            "<i title=\"{{v}}\">x</i>",
            "<i title='{{v}}'>x</i>",
            "<a href=\"/{{v}}\">x</a>",
        ];
        let alphabet = ['<', '>', '"', '\'', '&', '/', '=', ' ', 'a', '-', '!', ';', '\n', '{', '}'];
        let mut state = 7_u64;
        for round in 0..4_000 {
            let value: String = (0..round % 12)
                .map(|_| {
                    state =
                        state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    alphabet[usize::try_from(state >> 33).unwrap() % alphabet.len()]
                })
                .collect();
            for template in templates {
                let filled = html(template, &value).unwrap();
                let marks = |text: &str, mark: char| text.chars().filter(|c| *c == mark).count();
                for mark in ['<', '>', '"', '\''] {
                    assert_eq!(marks(&filled, mark), marks(template, mark), "{template} {value:?}");
                }
            }
        }
    }
}
