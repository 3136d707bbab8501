//! Templates: text with `{{path.to.value}}`, filled from the job's data and escaped for where it goes.
//!
//! The language has one construct on purpose. Templates arrive in jobs, so whoever may enqueue may write one;
//! loops, filters and a way to switch escaping off would be power over the cell and over the reader's screen that
//! nobody needs: a producer with logic computes the value and puts it into the data. This is why it is written
//! here in a page and not taken from a template engine, all of which offer raw output and unbounded loops.
//!
//! - A path is names and list indexes with dots: `{{donor.name}}`, `{{items.0.price}}`. Blanks inside are fine.
//! - Text, numbers and booleans can be filled in. What is missing, `null`, a list or an object is a fault that
//!   names the path; nothing is ever filled in as an empty text.
//! - `\{{` stands for `{{` itself. `{{{` is a fault, because elsewhere it means "do not escape".
//! - The literal text of a template is the author's and is not escaped.

use std::borrow::Cow;

use serde_json::Value;

use crate::fault::Fault;
use crate::html::Context;

/// The most that the templates of one notice may grow to, in bytes. A thousand placeholders for a long text
/// would otherwise multiply a small payload beyond the cell's memory.
const RENDERED_BYTES_MAX: usize = 1024 * 1024;

/// Makes a value fit for its place, or says why it cannot be there.
pub type Escape = fn(&str) -> Result<Cow<'_, str>, &'static str>;

/// Fills templates from one job's data, within one budget.
#[derive(Debug)]
pub struct Renderer<'a> {
    data: &'a Value,
    bytes_left: usize,
}

impl<'a> Renderer<'a> {
    /// A renderer with the whole budget.
    pub fn new(data: &'a Value) -> Self {
        Self { data, bytes_left: RENDERED_BYTES_MAX }
    }

    /// Fills a text. `place` names the template in faults, e.g. `template.subject`.
    ///
    /// # Errors
    /// A malformed template, a value that is missing or cannot be there, or too much text.
    pub fn text(&mut self, place: &str, template: &str, escape: Escape) -> Result<String, Fault> {
        let mut out = String::with_capacity(template.len());
        for piece in parse(place, template)? {
            match piece {
                Piece::Literal(text) => self.push(&mut out, place, &text)?,
                Piece::Path(path) => {
                    let value = self.printed(path)?;
                    let escaped =
                        escape(&value).map_err(|problem| Fault::new(format!("data.{path}"), problem))?;
                    self.push(&mut out, place, &escaped)?;
                }
            }
        }
        Ok(out)
    }

    /// Fills an HTML text, each value escaped for where in the markup it stands.
    ///
    /// # Errors
    /// As [`Self::text`], and for a placeholder where no value is safe.
    pub fn html(&mut self, place: &str, template: &str) -> Result<String, Fault> {
        let mut out = String::with_capacity(template.len());
        let mut context = Context::default();
        for piece in parse(place, template)? {
            match piece {
                Piece::Literal(text) => {
                    context.advance(&text);
                    self.push(&mut out, place, &text)?;
                }
                Piece::Path(path) => {
                    let value = self.printed(path)?;
                    let escaped = context
                        .escape(&value)
                        .map_err(|problem| Fault::new(place, format!("{{{{{path}}}}}: {problem}")))?;
                    self.push(&mut out, place, &escaped)?;
                }
            }
        }
        Ok(out)
    }

    /// Fills every text of a JSON tree. A text that is one placeholder and nothing else becomes the value itself,
    /// of whatever type; elsewhere values are filled in as text. Names of members are left alone. The result is
    /// JSON by construction, so nothing needs escaping.
    ///
    /// # Errors
    /// As [`Self::text`].
    pub fn tree(&mut self, place: &str, template: &Value) -> Result<Value, Fault> {
        Ok(match template {
            Value::Null | Value::Bool(_) | Value::Number(_) => template.clone(),
            Value::String(text) => match parse(place, text)?.as_slice() {
                [Piece::Path(path)] => {
                    let value = self.look_up(path)?.clone();
                    self.spend(place, value.to_string().len())?;
                    value
                }
                _ => Value::String(self.text(place, text, verbatim)?),
            },
            Value::Array(items) => {
                let items = items.iter().enumerate();
                items
                    .map(|(index, item)| self.tree(&format!("{place}.{index}"), item))
                    .collect::<Result<_, _>>()?
            }
            Value::Object(members) => {
                let fill = |(name, member): (&String, &Value)| {
                    Ok((name.clone(), self.tree(&format!("{place}.{name}"), member)?))
                };
                Value::Object(members.iter().map(fill).collect::<Result<_, _>>()?)
            }
        })
    }

    /// Fills every text of a JSON tree as text, with the escape that the member's name calls for.
    ///
    /// # Errors
    /// As [`Self::text`].
    pub fn texts(
        &mut self,
        place: &str,
        template: &Value,
        name: &str,
        escape: fn(&str) -> Escape,
    ) -> Result<Value, Fault> {
        Ok(match template {
            Value::Null | Value::Bool(_) | Value::Number(_) => template.clone(),
            Value::String(text) => Value::String(self.text(place, text, escape(name))?),
            Value::Array(items) => {
                let items = items.iter().enumerate();
                items
                    .map(|(index, item)| self.texts(&format!("{place}.{index}"), item, name, escape))
                    .collect::<Result<_, _>>()?
            }
            Value::Object(members) => {
                let fill = |(name, member): (&String, &Value)| {
                    Ok((name.clone(), self.texts(&format!("{place}.{name}"), member, name, escape)?))
                };
                Value::Object(members.iter().map(fill).collect::<Result<_, _>>()?)
            }
        })
    }

    fn look_up(&self, path: &str) -> Result<&'a Value, Fault> {
        let mut value = self.data;
        for (depth, name) in path.split('.').enumerate() {
            let below = match value {
                Value::Array(items) => name.parse::<usize>().ok().and_then(|index| items.get(index)),
                Value::Object(members) => members.get(name),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
            };
            value = below.ok_or_else(|| {
                let missing: Vec<&str> = path.split('.').take(depth + 1).collect();
                Fault::new(format!("data.{}", missing.join(".")), "is missing, and the template needs it")
            })?;
        }
        Ok(value)
    }

    fn printed(&self, path: &str) -> Result<Cow<'a, str>, Fault> {
        let problem = match self.look_up(path)? {
            Value::String(text) => return Ok(Cow::Borrowed(text)),
            Value::Number(number) => return Ok(Cow::Owned(number.to_string())),
            Value::Bool(yes) => return Ok(Cow::Borrowed(if *yes { "true" } else { "false" })),
            Value::Null => "is null, which no text stands for",
            Value::Array(_) => "is a list, not one value; name an element",
            Value::Object(_) => "is an object, not one value; name a member",
        };
        Err(Fault::new(format!("data.{path}"), problem))
    }

    fn push(&mut self, out: &mut String, place: &str, text: &str) -> Result<(), Fault> {
        self.spend(place, text.len())?;
        out.push_str(text);
        Ok(())
    }

    fn spend(&mut self, place: &str, bytes: usize) -> Result<(), Fault> {
        let left = self.bytes_left.checked_sub(bytes);
        self.bytes_left = left.ok_or_else(|| {
            Fault::new(place, format!("the filled templates are over {RENDERED_BYTES_MAX} bytes together"))
        })?;
        Ok(())
    }
}

/// The escape of places that take any text.
pub fn verbatim(value: &str) -> Result<Cow<'_, str>, &'static str> {
    Ok(Cow::Borrowed(value))
}

/// Several lines of plain text: control characters other than line breaks and tabs are left out. Terminals and
/// chat clients give some of them meanings that no reader sees.
pub fn plain(value: &str) -> Result<Cow<'_, str>, &'static str> {
    let stays = |c: char| !c.is_control() || c == '\n' || c == '\t';
    Ok(if value.chars().all(stays) {
        Cow::Borrowed(value)
    } else {
        Cow::Owned(value.chars().filter(|c| stays(*c)).collect())
    })
}

/// One line that becomes a header: a control character is refused and not left out, since nobody writes one there
/// by accident.
pub fn header(value: &str) -> Result<Cow<'_, str>, &'static str> {
    match value.chars().any(char::is_control) {
        false => Ok(Cow::Borrowed(value)),
        true => {
            Err("holds a line break or another control character, which could add headers to the message")
        }
    }
}

enum Piece<'t> {
    Literal(Cow<'t, str>),
    Path(&'t str),
}

/// Splits a template into literal text and paths.
fn parse<'t>(place: &str, template: &'t str) -> Result<Vec<Piece<'t>>, Fault> {
    let mut pieces = Vec::new();
    let mut rest = template;
    while let Some(open) = rest.find("{{") {
        let (before, after) = (&rest[..open], &rest[open + 2..]);
        if let Some(before) = before.strip_suffix('\\') {
            pieces.push(Piece::Literal(Cow::Owned(format!("{before}{{{{"))));
            rest = after;
            continue;
        }
        if after.starts_with('{') {
            return Err(Fault::new(place, "`{{{` is not offered: every value is escaped; write `{{path}}`"));
        }
        let Some(close) = after.find("}}") else {
            return Err(Fault::new(place, "a `{{` has no `}}`; write `\\{{` for the braces themselves"));
        };
        let path = after[..close].trim();
        let named = |name: &str| {
            !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-')
        };
        if !path.split('.').all(named) {
            let shown: String = path.chars().take(64).collect();
            return Err(Fault::new(
                place,
                format!("{shown:?} is not a path like `donor.name` or `items.0.price`"),
            ));
        }
        if !before.is_empty() {
            pieces.push(Piece::Literal(Cow::Borrowed(before)));
        }
        pieces.push(Piece::Path(path));
        rest = &after[close + 2..];
    }
    if !rest.is_empty() {
        pieces.push(Piece::Literal(Cow::Borrowed(rest)));
    }
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn text(template: &str, data: &Value) -> Result<String, String> {
        Renderer::new(data).text("template.text", template, plain).map_err(|fault| fault.to_string())
    }

    #[test]
    fn paths_are_filled_with_texts_numbers_and_booleans() {
        let data =
            json!({"donor": {"name": "Ada", "is-new": true}, "items": [{"price": 5}, 7.5], "größe": "M"});
        let template =
            "{{donor.name}} {{ donor.is-new }} {{items.0.price}} {{items.1}} {{größe}}{{donor.name}}";
        assert_eq!(text(template, &data).unwrap(), "Ada true 5 7.5 MAda");
        assert_eq!(text("", &data).unwrap(), "");
        assert_eq!(text(r"\{{x}} }} {x}", &data).unwrap(), "{{x}} }} {x}");
    }

    #[test]
    fn what_cannot_be_filled_in_is_a_fault_that_names_its_path() {
        let data = json!({"a": {"b": null}, "l": [1], "t": "x"});
        for (template, told) in [
            ("{{name}}", "data.name: is missing"),
            ("{{a.c.d}}", "data.a.c: is missing"),
            ("{{t.x}}", "data.t.x: is missing"),
            ("{{l.1}}", "data.l.1: is missing"),
            ("{{l.-1}}", "data.l.-1: is missing"),
            ("{{a.b}}", "data.a.b: is null"),
            ("{{a}}", "data.a: is an object"),
            ("{{l}}", "data.l: is a list"),
            ("{{{t}}}", "template.text: `{{{` is not offered"),
            ("{{t", "template.text: a `{{` has no `}}`"),
            ("{{}}", "is not a path"),
            ("{{a..b}}", "is not a path"),
            ("{{#each l}}", "is not a path"),
            ("{{t | upper}}", "is not a path"),
            ("{{t\u{0}}}", "is not a path"),
        ] {
            let fault = text(template, &data).unwrap_err();
            assert!(fault.contains(told), "{template}: {fault}");
        }
    }

    #[test]
    fn values_are_never_read_as_templates() {
        let data = json!({"a": "{{b}}", "b": "secret"});
        assert_eq!(text("{{a}}", &data).unwrap(), "{{b}}");
        assert_eq!(
            Renderer::new(&data).tree("t", &json!(["{{a}}", "x{{a}}"])).unwrap(),
            json!(["{{b}}", "x{{b}}"])
        );
    }

    #[test]
    fn a_tree_keeps_types_and_is_json_whatever_the_values_hold() {
        let data = json!({"n": 5, "o": {"k": [1, null]}, "q": "\"},{\"admin\":true", "name": "A\n"});
        let template = json!({"n": "{{n}}", "all": "{{o}}", "text": "n={{n}} {{q}}", "deep": [{"x": "{{ name }}"}],
            "{{n}}": 1, "keep": [null, false, 2.5]});
        let tree = Renderer::new(&data).tree("template", &template).unwrap();
        assert_eq!(
            tree,
            json!({"n": 5, "all": {"k": [1, null]}, "text": "n=5 \"},{\"admin\":true", "deep": [{"x": "A\n"}],
                "{{n}}": 1, "keep": [null, false, 2.5]})
        );
        let fault = Renderer::new(&data).tree("template", &json!({"a": [{"b": "{{no"}]})).unwrap_err();
        assert!(fault.to_string().starts_with("template.a.0.b: "), "{fault}");
    }

    #[test]
    fn filling_cannot_outgrow_the_budget() {
        let data = json!({"long": "x".repeat(100_000)});
        let fault = text(&"{{long}}".repeat(11), &data).unwrap_err();
        assert!(fault.contains("1048576 bytes"), "{fault}");
        let many = Value::Array(vec![json!("{{long}}"); 11]);
        assert!(Renderer::new(&data).tree("template", &many).is_err());
    }

    #[test]
    fn plain_text_loses_control_characters_and_headers_refuse_them() {
        assert_eq!(plain("a\u{1b}[2J\tb\r\nc\u{7f}\u{85}").unwrap(), "a[2J\tb\nc");
        assert_eq!(header("Grüße").unwrap(), "Grüße");
        for wrong in ["a\r\nBcc: x", "a\nb", "a\rb", "a\0", "a\u{85}b"] {
            assert!(header(wrong).is_err());
        }
    }
}
