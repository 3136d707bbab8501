//! `[secrets]`: where secrets come from. Their values are read with the configuration and shown nowhere.

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::environment::Environment;
use super::forms::{PATH, TEXT};
use super::reader::Reader;
use super::table::{Absent, Key, Section};

/// A value that never shows: `Debug` and `Display` print a placeholder.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// Bytes a secret's file may have. Keys and certificates are far below; a mistyped path must not fill the memory.
const FILE_BYTES_MAX: u64 = 64 * 1024;

const ENV: Key<String> = Key::new(
    "env",
    TEXT,
    Absent::Means("none"),
    "The environment variable that holds the value. A secret has this or `file`.",
);
const FILE: Key<PathBuf> = Key::new(
    "file",
    PATH,
    Absent::Means("none"),
    "The file that holds the value, as orchestrators mount it; one line break at its end is not part of it. At most \
     64 KiB.",
);

pub(super) static SECRET: Section = Section {
    about: "Values that handlers may use but, unless a grant reveals them, never see. The file says where they are, \
            not what they are.",
    keys: &[ENV.entry(), FILE.entry()],
};

/// Reads one secret. None when it cannot be had, or is not wanted.
pub(super) fn read(reader: &Reader<'_>, environment: &Environment, is_wanted: bool) -> Option<Secret> {
    let (variable, file) = (reader.get(&ENV), reader.get(&FILE));
    let is_written = |name| reader.node(name).is_some();
    match (variable, file) {
        (Some(_), Some(_)) => {
            reader.fault("", "has both `env` and `file`", "keep one");
            None
        }
        (Some(variable), None) if is_wanted => {
            let value = environment.get(&variable);
            if value.is_none() {
                let cause = format!("environment variable {variable} is not set");
                reader.fault(
                    ENV.name,
                    &cause,
                    &format!("set {variable}, or name another variable or a file"),
                );
            }
            value.map(|value| Secret(value.to_owned()))
        }
        (None, Some(path)) if is_wanted => match read_file(&path) {
            Ok(value) => Some(Secret(value)),
            Err(cause) => {
                let cause = format!("{}: {cause}", path.display());
                reader.fault(FILE.name, &cause, "correct the path, or make the file readable for this user");
                None
            }
        },
        (None, None) if !is_written(ENV.name) && !is_written(FILE.name) => {
            let fix = "write { env = \"VARIABLE\" } or { file = \"path\" }";
            reader.fault("", "does not say where its value is", fix);
            None
        }
        _ => None,
    }
}

fn read_file(path: &Path) -> Result<String, String> {
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    let mut value = String::new();
    file.take(FILE_BYTES_MAX + 1).read_to_string(&mut value).map_err(|error| error.to_string())?;
    if value.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("is larger than {FILE_BYTES_MAX} bytes"));
    }
    let value = value.strip_suffix('\n').unwrap_or(&value);
    let value = value.strip_suffix('\r').unwrap_or(value);
    if value.is_empty() { Err("is empty".to_owned()) } else { Ok(value.to_owned()) }
}

// === impl Secret ===

impl Secret {
    /// Takes a value.
    #[must_use]
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}
