//! Reads one group of keys and notes what is wrong with it.

use super::fault::{Fault, Faults, Origin};
use super::node::{Node, Table, Value};
use super::table::{Absent, Key, Section, nearest};

/// Reads one group of keys. A fault never stops it: it notes the fault and goes on with the default.
pub(super) struct Reader<'a> {
    pub(super) path: String,
    table: Option<&'a Table>,
    origin: Origin,
    faults: &'a Faults,
}

// === impl Reader ===

impl<'a> Reader<'a> {
    /// Opens a group; `node` is none where it is not written.
    pub(super) fn open(path: String, section: &Section, node: Option<&'a Node>, faults: &'a Faults) -> Self {
        let reader = Self {
            path,
            table: node.and_then(Node::as_table),
            origin: node.map_or(Origin::Default, |node| node.origin.clone()),
            faults,
        };
        if let (Some(node), None) = (node, reader.table) {
            let names: Vec<&str> = section.names().collect();
            faults.push(Fault {
                key: reader.path.clone(),
                // Whatever stands here may be a secret in the wrong place.
                value: None,
                origin: node.origin.clone(),
                cause: "must be a table".to_owned(),
                fix: format!("write a table with keys out of {}", names.join(", ")),
            });
        }
        reader.refuse_unknown(section);
        reader
    }

    /// A group in which nothing is written.
    pub(super) fn empty(like: &Self) -> Self {
        Self { path: like.path.clone(), table: None, origin: Origin::Default, faults: like.faults }
    }

    fn refuse_unknown(&self, section: &Section) {
        for (name, node) in self.table.into_iter().flatten() {
            if section.entry(name).is_some() {
                continue;
            }
            let like = nearest(name, section.names()).unwrap_or_default();
            self.faults.push(Fault {
                key: self.key(name),
                value: None,
                origin: node.origin.clone(),
                cause: "unknown key".to_owned(),
                fix: format!(
                    "did you mean {like:?}? Known here: {}",
                    section.names().collect::<Vec<_>>().join(", ")
                ),
            });
        }
    }

    fn key(&self, name: &str) -> String {
        match (self.path.as_str(), name) {
            ("", name) => name.to_owned(),
            (path, "") => path.to_owned(),
            (path, name) => format!("{path}.{name}"),
        }
    }

    pub(super) fn node(&self, name: &str) -> Option<&'a Node> {
        self.table?.get(name)
    }

    /// The value of a key, or of a key inside a group: `limits.memory`.
    fn find(&self, path: &str) -> Option<&'a Node> {
        let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
        let node = self.node(first)?;
        rest.map_or(Some(node), |rest| node.find(rest.split('.')))
    }

    /// The key's value, when it is written and right.
    pub(super) fn get<T>(&self, key: &Key<T>) -> Option<T> {
        let Some(node) = self.node(key.name) else {
            if key.default == Absent::Required {
                self.fault(key.name, "is missing", &format!("add `{} = …`: {}", key.name, key.form.expects));
            }
            return None;
        };
        match (key.form.read)(node) {
            Ok(value) => Some(value),
            Err(cause) => {
                self.faults.push(Fault {
                    key: self.key(key.name),
                    value: (!key.is_secret).then(|| node.shown()),
                    origin: node.origin.clone(),
                    cause,
                    fix: format!("write {}", key.form.expects),
                });
                None
            }
        }
    }

    /// The key's value and where it is written, when it is right. Notes no fault.
    pub(super) fn peek<T>(&self, key: &Key<T>) -> Option<(T, &'a Node)> {
        let node = self.node(key.name)?;
        Some(((key.form.read)(node).ok()?, node))
    }

    /// The key's value, else its default. Only for keys that have one.
    pub(super) fn value<T>(&self, key: &Key<T>) -> T {
        let value = self.get(key).or_else(|| key.default_value());
        value.unwrap_or_else(|| unreachable!("{} has a default, and a test reads it", key.name))
    }

    /// The group inside a key, or inside a key of a group: `options.token`.
    pub(super) fn section(&self, name: &str, section: &'static Section) -> Reader<'a> {
        Self::open(self.key(name), section, self.find(name), self.faults)
    }

    /// The groups inside a key whose names the writer chose.
    pub(super) fn named(&self, name: &str, section: &'static Section) -> Vec<(&'a str, Reader<'a>)> {
        let Some(node) = self.node(name) else { return Vec::new() };
        let Some(table) = node.as_table() else {
            self.fault(
                name,
                "must be a table",
                &format!("write [{}.NAME] and the keys below it", self.key(name)),
            );
            return Vec::new();
        };
        let path = self.key(name);
        let open = |(name, node): (&'a String, &'a Node)| {
            (name.as_str(), Self::open(format!("{path}.{name}"), section, Some(node), self.faults))
        };
        table.iter().map(open).collect()
    }

    /// The groups in a list.
    pub(super) fn listed(&self, name: &str, section: &'static Section) -> Vec<Reader<'a>> {
        let Some(node) = self.node(name) else { return Vec::new() };
        let Value::List(items) = &node.value else {
            self.fault(name, "must be a list of tables", &format!("write `{name} = [{{ … }}]`"));
            return Vec::new();
        };
        let path = self.key(name);
        let open = |(i, node)| Self::open(format!("{path}[{i}]"), section, Some(node), self.faults);
        items.iter().enumerate().map(open).collect()
    }

    /// Notes a fault for each of these names that is not declared in the part of the configuration called `place`.
    pub(super) fn refuse_undeclared<'n>(
        &self,
        key: &str,
        place: &str,
        names: impl Iterator<Item = &'n str>,
        declared: &[&str],
    ) {
        for name in names.filter(|name| !declared.contains(name)) {
            let cause = format!("{name:?} is not declared in {place}");
            let fix = match nearest(name, declared.iter().copied()) {
                None => format!("declare it; {place} is empty"),
                Some(like) => {
                    format!("did you mean {like:?}? Declared there: {}", declared.join(", "))
                }
            };
            self.fault(key, &cause, &fix);
        }
    }

    /// Notes a fault of a key, or of the group itself where the name is empty. The origin is that of the value where it
    /// is written, else that of the group.
    pub(super) fn fault(&self, name: &str, cause: &str, fix: &str) {
        self.note(name, None, cause, fix);
    }

    /// As [`Self::fault`], showing the value. Not for what may be a secret.
    pub(super) fn fault_shown(&self, name: &str, cause: &str, fix: &str) {
        self.note(name, self.find(name).map(Node::shown), cause, fix);
    }

    fn note(&self, name: &str, value: Option<String>, cause: &str, fix: &str) {
        self.faults.push(Fault {
            key: self.key(name),
            value,
            origin: self.find(name).map_or_else(|| self.origin.clone(), |node| node.origin.clone()),
            cause: cause.to_owned(),
            fix: fix.to_owned(),
        });
    }
}
