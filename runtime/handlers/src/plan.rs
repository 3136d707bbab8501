//! What a host is told of one handler.

use jobcell_core::recordings::Record;

use crate::artifact::Source;

/// Different jobs that have to break in the same way, and on this version alone, before it is quarantined, when nothing
/// else is said: enough that it is no coincidence.
pub const QUARANTINE: u32 = 5;

/// What a host is told of one handler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Its name.
    pub name: String,
    /// Where its versions come from.
    pub source: Source,
    /// Whether a retry runs on the version of the attempt before. Default no: a corrected handler finishes what the
    /// faulty one failed.
    pub same_version: bool,
    /// Different jobs that have to break in the same way before their version is quarantined; 0 never. Default
    /// [`QUARANTINE`].
    pub quarantine: u32,
    /// Whether changes of a file, or of what a tag means, are taken while the host runs. Default yes.
    pub watch: bool,
    /// Which attempts are recorded and kept, to be run again. Default none: recording costs each attempt.
    pub record: Record,
}

impl Plan {
    /// With the defaults.
    #[must_use]
    pub fn new(name: impl Into<String>, source: Source) -> Self {
        Self {
            name: name.into(),
            source,
            same_version: false,
            quarantine: QUARANTINE,
            watch: true,
            record: Record::Off,
        }
    }

    /// Whether what is wanted of it stands in the store, for the whole fleet.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.source == Source::Store
    }
}
