//! The environment as data, and how its variables name keys.

use std::collections::BTreeMap;
use std::fmt;

use super::fault::{Fault, Faults, Origin};
use super::node::Node;
use super::table::{Entry, Inner, Section, nearest};

/// Environment variables. Read once, so that nothing else looks at the process; shows names only.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

const START: &str = "JOBCELL_";
const SEPARATOR: &str = "__";

// === impl Environment ===

impl Environment {
    /// The variables of this process. Those that are not valid UTF-8 are left out.
    #[must_use]
    pub fn of_process() -> Self {
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect()
    }

    /// The value of a variable. An empty one counts as not set: that is how compose files write "nothing".
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Lays every `JOBCELL_…` variable over the file.
    ///
    /// All keys are in a group, so a variable that sets one has a `__`. Others are none of ours: Kubernetes, for one,
    /// sets `JOBCELL_PORT` in every pod beside a service named jobcell.
    pub(super) fn overlay(&self, root: &mut Node, section: &'static Section, faults: &Faults) {
        for (name, value) in &self.0 {
            let Some(path) = name.strip_prefix(START) else { continue };
            if value.is_empty() {
                continue;
            }
            let is_key = path.contains(SEPARATOR);
            if !is_key && !looks_like_key(path, section) {
                continue;
            }
            let segments: Vec<&str> = path.split(SEPARATOR).collect();
            let found =
                if is_key { resolve(&segments, section, root) } else { Err(suggestion(path, section)) };
            match found {
                Ok(keys) => root.set(&keys, Node::from_variable(name, value)),
                Err(fix) => faults.push(Fault {
                    key: String::new(),
                    value: None,
                    origin: Origin::Variable(name.clone()),
                    cause: "names no key".to_owned(),
                    fix,
                }),
            }
        }
    }
}

impl FromIterator<(String, String)> for Environment {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(variables: I) -> Self {
        Self(variables.into_iter().collect())
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// How a key or name is spelled in a variable.
pub(super) fn spelled(name: &str) -> String {
    name.chars().map(|c| if c.is_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect()
}

/// The keys that a variable's segments name, or what to write instead.
fn resolve(segments: &[&str], section: &'static Section, root: &Node) -> Result<Vec<String>, String> {
    let mut keys: Vec<String> = Vec::new();
    let mut inner = Inner::Section(section);
    for segment in segments {
        let place = || keys.iter().fold(START.to_owned(), |path, key| path + &spelled(key) + SEPARATOR);
        inner = match inner {
            Inner::Section(section) => {
                let entry = section.keys.iter().find(|entry| spelled(entry.name) == segment.to_uppercase());
                let entry = entry.ok_or_else(|| unknown(segment, section, &place()))?;
                keys.push(entry.name.to_owned());
                entry.inner
            }
            Inner::Named(section) => {
                keys.push(name_for(segment, root, &keys));
                Inner::Section(section)
            }
            Inner::Names => {
                keys.push(name_for(segment, root, &keys));
                Inner::Leaf
            }
            Inner::Leaf | Inner::Listed(_) => {
                let whole = place();
                return Err(format!(
                    "{} has nothing inside; set the whole value, as TOML",
                    whole.trim_end_matches('_')
                ));
            }
        };
    }
    Ok(keys)
}

/// The name meant by a segment: one that the file has, else the segment in small letters with dashes.
fn name_for(segment: &str, root: &Node, keys: &[String]) -> String {
    let written = root.find(keys.iter().map(String::as_str)).and_then(Node::as_table);
    let same = written.into_iter().flatten().map(|(name, _)| name);
    let found = same.into_iter().find(|name| spelled(name) == segment.to_uppercase());
    found.cloned().unwrap_or_else(|| segment.to_lowercase().replace('_', "-"))
}

fn unknown(segment: &str, section: &'static Section, place: &str) -> String {
    let spellings: Vec<String> = section.names().map(spelled).collect();
    let like = nearest(segment, spellings.iter().map(String::as_str)).unwrap_or_default();
    format!("did you mean {place}{like}? Known there: {}", spellings.join(", "))
}

/// Whether a variable without `__` is most likely meant for a key: `JOBCELL_SERVER_LISTEN`.
fn looks_like_key(path: &str, section: &'static Section) -> bool {
    meant(path, section).is_some()
}

fn meant(path: &str, section: &'static Section) -> Option<String> {
    let is_meant = |key: &String| key.contains(SEPARATOR) && key.replace(SEPARATOR, "_") == path;
    spellings(section).into_iter().find(is_meant)
}

fn suggestion(path: &str, section: &'static Section) -> String {
    let key = meant(path, section).unwrap_or_else(|| path.to_owned());
    format!("write {START}{key}, with two underscores between the group and the key")
}

/// Every key that has no chosen name in its path, as variables spell it.
fn spellings(section: &'static Section) -> Vec<String> {
    let below = |entry: &Entry| match entry.inner {
        Inner::Section(section) => {
            let inside = spellings(section);
            inside.into_iter().map(|key| format!("{}{SEPARATOR}{key}", spelled(entry.name))).collect()
        }
        Inner::Leaf | Inner::Named(_) | Inner::Listed(_) | Inner::Names => vec![spelled(entry.name)],
    };
    section.keys.iter().flat_map(below).collect()
}
