//! The table of keys: what may be written, how, what holds when it is not, and why. Reading, the names of environment
//! variables, messages about unknown keys and the reference in `docs/` are all made from it.

use super::forms::Form;
use super::node::Node;

/// A group of keys: what `[…]` in the file begins.
pub(super) struct Section {
    /// What the group is for.
    pub(super) about: &'static str,
    pub(super) keys: &'static [Entry],
}

/// One key, without the type of its value.
#[derive(Clone, Copy)]
pub(super) struct Entry {
    pub(super) name: &'static str,
    /// What kind of value it takes, in a word or two.
    pub(super) form: &'static str,
    pub(super) default: Absent,
    /// What the key bounds or does, and why the default is what it is.
    pub(super) about: &'static str,
    pub(super) inner: Inner,
}

/// What holds when a key is not written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Absent {
    /// This value, as TOML.
    Value(&'static str),
    /// What these words say.
    Means(&'static str),
    /// The key must be written.
    Required,
}

/// What is inside a key's value.
#[derive(Clone, Copy)]
pub(super) enum Inner {
    /// Nothing that has a name.
    Leaf,
    /// Keys of a known group.
    Section(&'static Section),
    /// Names that the writer chose, each with a group.
    Named(&'static Section),
    /// A list of groups.
    Listed(&'static Section),
    /// Names that the writer chose, each with a value.
    Names,
}

/// One key with the type of its value.
pub(super) struct Key<T: 'static> {
    pub(super) name: &'static str,
    pub(super) form: Form<T>,
    pub(super) default: Absent,
    pub(super) about: &'static str,
    /// The value must never be shown.
    pub(super) is_secret: bool,
}

// === impl Key ===

impl<T> Key<T> {
    /// A key that may be left out.
    pub(super) const fn new(name: &'static str, form: Form<T>, default: Absent, about: &'static str) -> Self {
        Self { name, form, default, about, is_secret: false }
    }

    /// A key that has a value at all times.
    pub(super) const fn value(
        name: &'static str,
        form: Form<T>,
        default: &'static str,
        about: &'static str,
    ) -> Self {
        Self::new(name, form, Absent::Value(default), about)
    }

    /// Its value may be a secret.
    pub(super) const fn secret(mut self) -> Self {
        self.is_secret = true;
        self
    }

    pub(super) const fn entry(self) -> Entry {
        let Self { name, form: Form { name: form, .. }, default, about, .. } = self;
        Entry { name, form, default, about, inner: Inner::Leaf }
    }

    /// The value that holds when the key is not written. Every default in the table is read by a test.
    pub(super) fn default_value(&self) -> Option<T> {
        match self.default {
            Absent::Value(text) => (self.form.read)(&Node::from_default(text)).ok(),
            Absent::Means(_) | Absent::Required => None,
        }
    }
}

// === impl Entry ===

impl Entry {
    pub(super) const fn section(name: &'static str, section: &'static Section) -> Self {
        Self::group(name, "table", section.about, Inner::Section(section))
    }

    pub(super) const fn named(name: &'static str, section: &'static Section) -> Self {
        Self::group(name, "tables by name", section.about, Inner::Named(section))
    }

    pub(super) const fn listed(name: &'static str, section: &'static Section) -> Self {
        Self::group(name, "list of tables", section.about, Inner::Listed(section))
    }

    const fn group(name: &'static str, form: &'static str, about: &'static str, inner: Inner) -> Self {
        Self { name, form, default: Absent::Means("none"), about, inner }
    }

    /// The same, with names inside that environment variables can spell.
    pub(super) const fn with_names(mut self) -> Self {
        self.inner = Inner::Names;
        self
    }
}

// === impl Section ===

impl Section {
    pub(super) fn entry(&self, name: &str) -> Option<&'static Entry> {
        self.keys.iter().find(|entry| entry.name == name)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.keys.iter().map(|entry| entry.name)
    }
}

/// The known name that is most like this one.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let likeness = |other: &str| strsim::jaro_winkler(&name.to_lowercase(), &other.to_lowercase());
    known.into_iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)))
}
