//! A handler's file on this machine, and how its changes are found.
//!
//! It is looked at again and again, and read once it has rested: between two looks where another file was put in its
//! place, as a rename and a link that is turned do, and for [`REST`] where it was written in place, as no look shows when
//! its writer is done. That works on every file system and behind every mount. Where the kernel tells of those who write
//! the file, it is left alone as long as one of them has it open, too.

mod writers;

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use tokio::io::AsyncReadExt;
use tokio::time::Instant;

use self::writers::{Place, Told};
use crate::artifact::{ARTIFACT_BYTES_MAX, Artifact, ArtifactError};

/// Between two looks at a file that changes. One that was put in the place of another counts as whole when it is the same
/// at two of them.
pub const LOOK: Duration = Duration::from_millis(100);
/// Between two looks at a file that rests: soon enough for a person, and next to nothing for hundreds of handlers.
pub const LOOK_IDLE: Duration = Duration::from_millis(400);

/// How long a file that is written in place has to be left alone before it is taken, counted from its last change and from
/// when its writer was seen to have closed it, who may open it again: longer than a copy over a network usually pauses, and
/// short for somebody who waits for it.
pub const REST: Duration = Duration::from_secs(2);
/// How long without a change, instead of [`REST`], while somebody who wrote to it has it open. Beyond that it is taken as it
/// is: a program that forgets to close a file must not keep a version away for ever.
pub const OPEN_REST: Duration = Duration::from_secs(60);

/// How long [`read_rested`] waits for it: a copy that takes longer is better put in place by renaming it.
pub const REST_PATIENCE: Duration = Duration::from_secs(10);

/// Watches one file.
#[derive(Debug)]
pub struct FileWatch {
    handler: String,
    source: PathBuf,
    /// As it was at the last look.
    last: Option<Mark>,
    /// Since when it is so.
    since: Instant,
    /// Whether its last change may have been a part of a longer one.
    is_in_place: bool,
    /// As it was when it was last read.
    read: Option<Mark>,
    /// [`REST`].
    rest: Duration,
    /// [`OPEN_REST`].
    open_rest: Duration,
    /// Where its writers are told of. None where they are not.
    place: Option<Arc<Place>>,
    /// What was told of them until the last look.
    told: Told,
}

/// What one look sees.
struct Seen {
    mark: Mark,
    place: Option<Arc<Place>>,
    told: Told,
}

/// What shows that a file or its signature is another one, or was written to.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Mark {
    There { file: Stamp, signature: Option<Stamp> },
    Not(ErrorKind),
}

/// What changes with every change of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Mark {
    fn of(path: &Path, signature: &Path) -> Self {
        let signature = Stamp::of(signature).ok();
        Stamp::of(path).map_or_else(|fault| Self::Not(fault.kind()), |file| Self::There { file, signature })
    }

    /// How long ago it was written to.
    fn age(&self) -> Duration {
        match self {
            Self::There { file, .. } => file.age(),
            Self::Not(_) => Duration::ZERO,
        }
    }

    /// Which file it is.
    fn file(&self) -> Option<(u64, u64)> {
        match self {
            Self::There { file, .. } => Some(file.id()),
            Self::Not(_) => None,
        }
    }

    /// Whether what led from the mark before to this one may have been writing in place, of which more is to come. A file
    /// that takes another one's place is whole, if whoever renames it has done his part.
    fn is_in_place(&self, before: Option<&Self>, was: bool, told: Told) -> bool {
        match (before, self) {
            (_, Self::Not(_)) => false,
            // Moved to where none was, or made there. What lies there at the first look may be under way as well.
            (None | Some(Self::Not(_)), Self::There { file, .. }) => file.may_be_written_here(),
            // Only the signature is another, or nothing that the mark shows.
            (Some(Self::There { file: before, .. }), Self::There { file, .. }) if before == file => {
                was || told.is_open
            }
            (Some(Self::There { file: before, .. }), Self::There { file, .. }) => {
                before.id() == file.id() || told.is_open || told.is_made && file.may_be_written_here()
            }
        }
    }
}

impl Stamp {
    fn of(path: &Path) -> std::io::Result<Self> {
        let found = std::fs::metadata(path)?;
        Ok(Self {
            device: found.dev(),
            inode: found.ino(),
            size: found.len(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        })
    }

    fn id(&self) -> (u64, u64) {
        (self.device, self.inode)
    }

    /// How long ago it was written to, by the clocks of its file system and of this machine. Zero for what is to come.
    fn age(&self) -> Duration {
        let (seconds, nanoseconds) = self.modified;
        let (Ok(seconds), Ok(nanoseconds)) = (u64::try_from(seconds), u32::try_from(nanoseconds)) else {
            return Duration::ZERO;
        };
        let modified = UNIX_EPOCH.checked_add(Duration::new(seconds, nanoseconds));
        modified.and_then(|modified| modified.elapsed().ok()).unwrap_or_default()
    }

    /// Only a move and a hard link leave the content older than the rest of the file.
    fn may_be_written_here(&self) -> bool {
        self.changed <= self.modified
    }
}

impl Seen {
    /// Looks, from where the file lay when it was the one before. May block.
    fn at(path: &Path, signature: &Path, place: Option<Arc<Place>>, before: Option<(u64, u64)>) -> Self {
        let find = || Place::of(path).map(Arc::new);
        // What happens after the look is told: a mark that stays shows what was before.
        let place = place.or_else(find);
        let mark = Mark::of(path, signature);
        // Another file may lie elsewhere, behind a link or in another directory of the same name.
        let place = if mark.file() == before { place } else { find() };
        match place.as_ref().and_then(|place| place.told()) {
            Some(told) => Self { mark, place, told },
            None => Self { mark, place: None, told: Told::default() },
        }
    }
}

/// What a look found.
#[derive(Debug)]
pub enum Look {
    /// What it was when it was last read.
    Same,
    /// It changes; look again.
    Restless,
    /// It was read.
    Read(Artifact),
    /// It cannot be read, or is no whole component. Said once of each state.
    Fault(ArtifactError),
}

/// The file of a source: itself, or the one in a directory that is named like the handler.
pub(crate) fn path_of(handler: &str, source: &Path) -> PathBuf {
    if source.is_dir() { source.join(format!("{handler}.wasm")) } else { source.to_owned() }
}

/// The signature that lies beside the file as `<file>.sig`, where there is one.
#[must_use]
pub fn signature_path(handler: &str, source: &Path) -> PathBuf {
    let mut path = path_of(handler, source).into_os_string();
    path.push(".sig");
    PathBuf::from(path)
}

/// Reads the artifact as it is now.
///
/// Cancel safety: nothing is left of a dropped future.
///
/// # Errors
/// When it cannot be read, is no regular file, or is over [`ARTIFACT_BYTES_MAX`].
pub async fn read(handler: &str, source: &Path) -> Result<Artifact, ArtifactError> {
    let path = &path_of(handler, source);
    let named = || (handler.to_owned(), path.clone());
    let unreadable = |cause| {
        let (handler, path) = named();
        ArtifactError::Unreadable { handler, path, cause }
    };
    // Before it is opened: opening a named pipe would wait for somebody to write to it.
    let found = tokio::fs::metadata(path).await.map_err(unreadable)?;
    if !found.is_file() {
        let (handler, path) = named();
        return Err(ArtifactError::NoFile { handler, path });
    }
    let file = tokio::fs::File::open(path).await.map_err(unreadable)?;
    let expected = found.len().min(ARTIFACT_BYTES_MAX);
    let mut bytes = Vec::with_capacity(usize::try_from(expected).unwrap_or_default() + 1);
    file.take(ARTIFACT_BYTES_MAX + 1).read_to_end(&mut bytes).await.map_err(unreadable)?;
    if bytes.len() as u64 > ARTIFACT_BYTES_MAX {
        let (handler, path) = named();
        return Err(ArtifactError::TooLarge { handler, path });
    }
    Ok(Artifact::new(bytes))
}

/// Reads the artifact once nobody seems to be writing it, as a [`FileWatch`] does: at once where it has rested.
///
/// Cancel safety: nothing is left of a dropped future.
///
/// # Errors
/// As [`read`], when it ends in the middle, and when it does not come to rest within [`REST_PATIENCE`].
pub async fn read_rested(handler: &str, source: &Path) -> Result<Artifact, ArtifactError> {
    let mut watch = FileWatch::anew(handler, source);
    let rested = async {
        loop {
            match watch.look().await {
                Look::Read(artifact) => return Ok(artifact),
                Look::Fault(fault) => return Err(fault),
                Look::Restless | Look::Same => tokio::time::sleep(LOOK).await,
            }
        }
    };
    tokio::time::timeout(REST_PATIENCE, rested).await.unwrap_or_else(|_| {
        Err(ArtifactError::BeingWritten { handler: handler.to_owned(), path: path_of(handler, source) })
    })
}

// === impl FileWatch ===

impl FileWatch {
    /// Watches, and reads what is there first.
    #[must_use]
    pub fn anew(handler: &str, source: &Path) -> Self {
        Self {
            handler: handler.to_owned(),
            source: source.to_owned(),
            last: None,
            since: Instant::now(),
            is_in_place: false,
            read: None,
            rest: REST,
            open_rest: OPEN_REST,
            place: None,
            told: Told::default(),
        }
    }

    async fn mark(&mut self) -> Mark {
        let (handler, source, place) = (self.handler.clone(), self.source.clone(), self.place.clone());
        let before = self.last.as_ref().and_then(Mark::file);
        // In one go: each hand-over to a thread that may block costs more than the look.
        let looked = tokio::task::spawn_blocking(move || {
            Seen::at(&path_of(&handler, &source), &signature_path(&handler, &source), place, before)
        });
        let looked = looked.await.unwrap_or(Seen {
            mark: Mark::Not(ErrorKind::Other),
            place: None,
            told: Told::default(),
        });
        (self.place, self.told) = (looked.place, looked.told);
        looked.mark
    }

    fn changed(&mut self, now: Mark) {
        self.is_in_place = now.is_in_place(self.last.as_ref(), self.is_in_place, self.told);
        self.since = Instant::now();
        // What has rested before anybody looked need not do so again.
        if self.last.is_none() {
            self.since = self.since.checked_sub(now.age()).unwrap_or(self.since);
        }
        self.last = Some(now);
    }

    /// How long it has to be left alone.
    fn rest(&self) -> Duration {
        match (self.told.is_open, self.is_in_place) {
            (true, _) => self.open_rest,
            (false, true) => self.rest,
            (false, false) => Duration::ZERO,
        }
    }

    /// Looks once. To be called [`LOOK`] after a look that found it restless, else after [`LOOK_IDLE`].
    ///
    /// Cancel safety: what a dropped look would have found, the next one finds.
    pub async fn look(&mut self) -> Look {
        let was_open = self.told.is_open;
        let mark = self.mark().await;
        if self.read.as_ref() == Some(&mark) {
            self.last = Some(mark);
            return Look::Same;
        }
        if self.last.as_ref() != Some(&mark) {
            let is_first = self.last.is_none();
            self.changed(mark.clone());
            if !is_first {
                return Look::Restless;
            }
        }
        let told = self.told;
        if was_open && !told.is_open {
            self.since = Instant::now();
        }
        if self.since.elapsed() < self.rest() {
            return Look::Restless;
        }
        let found = read(&self.handler, &self.source).await;
        let after = self.mark().await;
        // Two writes in one tick of the file system's clock leave the same mark.
        if after != mark || self.told != told {
            self.changed(after);
            return Look::Restless;
        }
        self.read = Some(mark);
        match found {
            Ok(artifact) => match cut_off(&artifact.bytes) {
                None => Look::Read(artifact),
                Some(at) => Look::Fault(ArtifactError::CutOff {
                    handler: self.handler.clone(),
                    path: path_of(&self.handler, &self.source),
                    at,
                    size: artifact.bytes.len(),
                }),
            },
            Err(fault) => Look::Fault(fault),
        }
    }
}

/// Where the section begins that the bytes end within. None when they end with one, or are no WebAssembly at all, which
/// admission has better words for.
fn cut_off(bytes: &[u8]) -> Option<usize> {
    const HEADER: usize = 8;
    if !b"\0asm".starts_with(&bytes[..bytes.len().min(4)]) {
        return None;
    }
    if bytes.len() < HEADER {
        return Some(0);
    }
    let mut at = HEADER;
    while at < bytes.len() {
        let (size, digits) = size(&bytes[at + 1..])?;
        match (at + 1 + digits).checked_add(size) {
            Some(end) if end <= bytes.len() => at = end,
            _ => return Some(at),
        }
    }
    None
}

/// A section's size, and how many bytes say it. Zero digits where they are cut off.
fn size(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut size = 0_usize;
    for (digits, byte) in bytes.iter().take(5).enumerate() {
        size |= usize::from(byte & 0x7f) << (7 * digits);
        if byte & 0x80 == 0 {
            return Some((size, digits + 1));
        }
    }
    // More digits than a size has are admission's business; fewer than it needs are not there yet.
    (bytes.len() < 5).then_some((usize::MAX, 0))
}

#[cfg(test)]
mod tests;
