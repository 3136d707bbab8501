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
use tokio::time::{Instant, sleep};

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

/// How long a start and a reload wait for files to rest: a copy that takes longer is better put in place by renaming it.
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

    /// How long ago it changed. What is not there never did.
    fn age(&self) -> Duration {
        match self {
            Self::There { file, signature } => {
                let ages = signature.iter().chain([file]).map(Stamp::age);
                ages.min().unwrap_or_default()
            }
            Self::Not(_) => Duration::MAX,
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
            // What lies there at the first look may be under way, whatever was done to it last.
            (None, Self::There { .. }) => true,
            // Moved to where none was, or made there.
            (Some(Self::Not(_)), Self::There { file, .. }) => file.may_be_written_here(),
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

    /// How long ago it changed, by the clocks of its file system and of this machine. Zero for what is to come.
    fn age(&self) -> Duration {
        let age = |(seconds, nanoseconds): (i64, i64)| {
            let since = Duration::new(seconds.try_into().ok()?, nanoseconds.try_into().ok()?);
            UNIX_EPOCH.checked_add(since)?.elapsed().ok()
        };
        age(self.modified).min(age(self.changed)).unwrap_or_default()
    }

    /// Only a move, a hard link and a change of its owner or mode leave the content older than the rest of the file.
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
            let age = now.age().min(self.open_rest);
            self.since = self.since.checked_sub(age).unwrap_or(self.since);
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
        let mark = match self.glance().await {
            Glance::Same => return Look::Same,
            Glance::Restless => return Look::Restless,
            Glance::Rested(mark) => mark,
        };
        let told = self.told;
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

    async fn glance(&mut self) -> Glance {
        let was_open = self.told.is_open;
        let mark = self.mark().await;
        if self.read.as_ref() == Some(&mark) {
            self.last = Some(mark);
            return Glance::Same;
        }
        if self.last.as_ref() != Some(&mark) {
            let has_rested = self.last.is_none() && mark.age() >= self.rest;
            self.changed(mark.clone());
            if !has_rested {
                return Glance::Restless;
            }
        }
        if was_open && !self.told.is_open {
            self.since = Instant::now();
        }
        if self.since.elapsed() < self.rest() { Glance::Restless } else { Glance::Rested(mark) }
    }
}

/// As long as this is there, nothing is missed of who has a file open.
#[derive(Debug)]
pub(crate) struct Listening {
    _place: Option<Arc<Place>>,
}

/// A file that is read once, when it has rested.
#[derive(Debug)]
pub(crate) struct Reading {
    watch: FileWatch,
    /// When not resting is a fault.
    until: Instant,
}

// === impl Reading ===

impl Reading {
    pub(crate) fn new(handler: &str, source: &Path, until: Instant) -> Self {
        Self { watch: FileWatch::anew(handler, source), until }
    }

    /// Waits until it has rested, or should have.
    ///
    /// Cancel safety: it can be waited for again.
    pub(crate) async fn rested(&mut self) {
        let mut has_said = false;
        while matches!(self.watch.glance().await, Glance::Restless) && Instant::now() < self.until {
            if !has_said {
                let FileWatch { handler, source, .. } = &self.watch;
                tracing::info!(handler, source = %source.display(), "waiting until its file is left alone");
                has_said = true;
            }
            sleep(LOOK).await;
        }
    }

    /// Has whoever looks at the file later be told of those who write it from now on.
    pub(crate) fn listen(&self) -> Listening {
        Listening { _place: self.watch.place.clone() }
    }

    /// Reads it once it has rested.
    ///
    /// Cancel safety: nothing is left of a dropped future.
    ///
    /// # Errors
    /// As [`read`], and when it ends in the middle or does not rest in time.
    pub(crate) async fn read(mut self) -> Result<Artifact, ArtifactError> {
        loop {
            match self.watch.look().await {
                Look::Read(artifact) => return Ok(artifact),
                Look::Fault(fault) => return Err(fault),
                Look::Restless | Look::Same if Instant::now() < self.until => sleep(LOOK).await,
                Look::Restless | Look::Same => {
                    let FileWatch { handler, source, .. } = self.watch;
                    let path = path_of(&handler, &source);
                    return Err(ArtifactError::Restless { handler, path });
                }
            }
        }
    }
}

/// What a look finds before it reads.
enum Glance {
    Same,
    Restless,
    Rested(Mark),
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
