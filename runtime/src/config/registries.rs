//! `[registries."HOST"]`: who this host is to registries that handlers come from.

use super::environment::Environment;
use super::forms::TEXT;
use super::reader::Reader;
use super::secret::{self, Secret};
use super::table::{Absent, Entry, Key, Section};

/// A login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryConfig {
    /// The user.
    pub username: String,
    /// The password or token.
    pub password: Secret,
}

const USERNAME: Key<String> = Key::new(
    "username",
    TEXT,
    Absent::Required,
    "The user; what the registry wants in its place where only a token counts.",
);
const PASSWORD: Entry = Entry::section("password", &secret::SECRET);

pub(super) static REGISTRY: Section = Section {
    about: "Logins of registries that handlers come from, by host as in the source, with the port where one is given. Without \
            one the registry is asked as nobody. Plain HTTP is spoken to this machine only.",
    keys: &[USERNAME.entry(), PASSWORD],
};

/// Reads one login. None when it is not whole, or secrets are not wanted.
pub(super) fn read(
    reader: &Reader<'_>,
    environment: &Environment,
    is_wanted: bool,
) -> Option<RegistryConfig> {
    let username = reader.get(&USERNAME);
    let password = secret::read(&reader.section(PASSWORD.name, &secret::SECRET), environment, is_wanted);
    Some(RegistryConfig { username: username?, password: password? })
}
