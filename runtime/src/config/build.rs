//! `[handlers.NAME.build]`: how `jobcell dev` builds a handler that is no Cargo package.

use std::path::PathBuf;

use super::forms::{PATH, TEXT};
use super::reader::Reader;
use super::table::{Absent, Key, Section};

/// How a handler is built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildConfig {
    /// What a shell is given.
    pub command: String,
    /// Where it runs, and what is watched.
    pub folder: PathBuf,
}

const COMMAND: Key<String> = Key::new(
    "command",
    TEXT,
    Absent::Required,
    "What `jobcell dev` gives to a shell, in `dir`, when a file below that changed: for example `\"npm run build\"`. It is \
     to make the file that `source` names.",
);
const DIR: Key<PathBuf> = Key::new(
    "dir",
    PATH,
    Absent::Required,
    "The folder of the handler's sources. Hidden folders, `target`, `node_modules` and `dist` in it are not watched.",
);
pub(super) static BUILD: Section = Section {
    about: "How `jobcell dev` builds a handler that is no Cargo package; those it finds by themselves. Nothing else looks \
            at it.",
    keys: &[COMMAND.entry(), DIR.entry()],
};

/// Reads it. None where it is not written, or not whole.
pub(super) fn read(reader: &Reader<'_>, is_written: bool) -> Option<BuildConfig> {
    if !is_written {
        return None;
    }
    let (command, folder) = (reader.get(&COMMAND), reader.get(&DIR));
    Some(BuildConfig { command: command?, folder: folder? })
}
