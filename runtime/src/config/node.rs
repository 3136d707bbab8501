//! A configuration as written: a tree of values that know where they came from.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use toml::de::{DeTable, DeValue};

use super::fault::{Fault, Faults, Origin};
use super::forms::without_login;

/// One value. Has no `Debug`: it may be a secret.
#[derive(Clone)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) origin: Origin,
    /// The text of an environment variable before it was taken for TOML: what a key that wants text is given, so that
    /// `JOBCELL_REDIS__PREFIX=7` needs no quotes.
    pub(super) raw: Option<String>,
}

#[derive(Clone)]
pub(super) enum Value {
    Text(String),
    Int(i64),
    Float(f64),
    Bool(bool),
    List(Vec<Node>),
    Table(Table),
    /// Dates and numbers too large: nothing here takes them.
    Other(String),
}

pub(super) type Table = BTreeMap<String, Node>;

/// Characters of a value that a message shows.
const SHOWN_CHARS_MAX: usize = 80;

// === impl Node ===

impl Node {
    pub(super) fn new(value: Value, origin: Origin) -> Self {
        Self { value, origin, raw: None }
    }

    pub(super) fn table(origin: Origin) -> Self {
        Self::new(Value::Table(Table::new()), origin)
    }

    /// Reads a TOML document. None when its syntax is broken, with a fault for each place.
    pub(super) fn document(text: &str, path: &Arc<Path>, faults: &Faults) -> Option<Self> {
        let lines = Lines::of(text);
        let origin =
            |span: Range<usize>| Origin::File { path: Arc::clone(path), line: lines.line(span.start) };
        let (root, errors) = DeTable::parse_recoverable(text);
        let is_whole = errors.is_empty();
        for error in errors {
            faults.push(Fault {
                key: String::new(),
                value: None,
                origin: origin(error.span().unwrap_or(0..0)),
                cause: format!("not valid TOML: {}", error.message()),
                fix: "correct the syntax".to_owned(),
            });
        }
        is_whole.then(|| {
            let span = root.span();
            Self::new(Value::Table(convert_table(root.get_ref(), &origin)), origin(span))
        })
    }

    /// Reads the text of an environment variable: a TOML value, else plain text.
    pub(super) fn from_variable(name: &str, text: &str) -> Self {
        let origin = Origin::Variable(name.to_owned());
        let value = DeValue::parse(text.trim()).map_or_else(
            |_| Value::Text(text.to_owned()),
            |value| convert(value.get_ref(), &|_| origin.clone()),
        );
        Self { value, origin, raw: Some(text.to_owned()) }
    }

    /// Reads a default from a table of keys.
    pub(super) fn from_default(text: &str) -> Self {
        let value = DeValue::parse(text).map_or_else(
            |_| Value::Other(text.to_owned()),
            |value| convert(value.get_ref(), &|_| Origin::Default),
        );
        Self::new(value, Origin::Default)
    }

    pub(super) fn as_table(&self) -> Option<&Table> {
        match &self.value {
            Value::Table(table) => Some(table),
            _ => None,
        }
    }

    /// The text, also of a variable that looks like a number.
    pub(super) fn as_text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            Value::Int(_) | Value::Float(_) | Value::Bool(_) | Value::Other(_) => self.raw.as_deref(),
            Value::List(_) | Value::Table(_) => None,
        }
    }

    /// The value as a message shows it, without a login that a URL may hold.
    pub(super) fn shown(&self) -> String {
        let text = match &self.value {
            Value::Text(text) => format!("{:?}", without_login(text)),
            Value::Int(number) => number.to_string(),
            Value::Float(number) => number.to_string(),
            Value::Bool(truth) => truth.to_string(),
            Value::List(_) => "[…]".to_owned(),
            Value::Table(_) => "{…}".to_owned(),
            Value::Other(text) => text.clone(),
        };
        if text.chars().count() <= SHOWN_CHARS_MAX {
            return text;
        }
        text.chars().take(SHOWN_CHARS_MAX).chain(['…']).collect()
    }

    /// Lays another tree over this one: tables are joined, everything else is replaced.
    pub(super) fn overlay(&mut self, over: Self) {
        if let (Value::Table(table), Value::Table(_)) = (&mut self.value, &over.value) {
            let Value::Table(entries) = over.value else { return };
            for (key, node) in entries {
                match table.get_mut(&key) {
                    Some(under) => under.overlay(node),
                    None => drop(table.insert(key, node)),
                }
            }
        } else {
            *self = over;
        }
    }

    /// Sets a value deep in this tree, making tables on the way. A value that is no table stays as it is: reading it
    /// will say what is wrong with it.
    pub(super) fn set(&mut self, path: &[String], node: Self) {
        let Value::Table(table) = &mut self.value else { return };
        match path {
            [] => {}
            [key] => match table.get_mut(key) {
                Some(under) => under.overlay(node),
                None => drop(table.insert(key.clone(), node)),
            },
            [key, rest @ ..] => {
                let origin = node.origin.clone();
                table.entry(key.clone()).or_insert_with(|| Self::table(origin)).set(rest, node);
            }
        }
    }

    /// The value at this path.
    pub(super) fn find<'a>(&self, path: impl IntoIterator<Item = &'a str>) -> Option<&Self> {
        path.into_iter().try_fold(self, |node, key| node.as_table()?.get(key))
    }
}

fn convert_table(table: &DeTable<'_>, origin: &dyn Fn(Range<usize>) -> Origin) -> Table {
    let entry = |(key, value): (&toml::Spanned<_>, &toml::Spanned<DeValue<'_>>)| {
        let name: &std::borrow::Cow<'_, str> = key.get_ref();
        // The line of the key, not of the value: a value may begin lines later.
        let node = Node::new(convert(value.get_ref(), origin), origin(key.span()));
        (name.clone().into_owned(), node)
    };
    table.iter().map(entry).collect()
}

fn convert(value: &DeValue<'_>, origin: &dyn Fn(Range<usize>) -> Origin) -> Value {
    match value {
        DeValue::String(text) => Value::Text(text.clone().into_owned()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or_else(|_| Value::Other(number.to_string()), Value::Int),
        DeValue::Float(number) => {
            number.as_str().parse().map_or_else(|_| Value::Other(number.to_string()), Value::Float)
        }
        DeValue::Boolean(truth) => Value::Bool(*truth),
        DeValue::Datetime(date) => Value::Other(date.to_string()),
        DeValue::Array(items) => {
            let item = |item: &toml::Spanned<DeValue<'_>>| {
                Node::new(convert(item.get_ref(), origin), origin(item.span()))
            };
            Value::List(items.iter().map(item).collect())
        }
        DeValue::Table(table) => Value::Table(convert_table(table, origin)),
    }
}

/// Where the lines of a text begin.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Self {
        Self(text.match_indices('\n').map(|(at, _)| at).collect())
    }

    /// The number of the line that holds this byte, from 1.
    fn line(&self, at: usize) -> usize {
        self.0.partition_point(|newline| *newline < at) + 1
    }
}
