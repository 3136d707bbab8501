//! A handler's file on this machine, and how its changes are found.
//!
//! It is looked at again and again, and read once it has rested: between two looks where another file was put in its
//! place, as a rename and a link that is turned do, and for [`REST`] where it was written in place, as nothing shows when
//! its writer is done. That works on every file system and behind every mount.

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::time::Instant;

use crate::artifact::{ARTIFACT_BYTES_MAX, Artifact, ArtifactError};

/// Between two looks at a file that changes. One that was put in the place of another counts as whole when it is the same
/// at two of them.
pub const LOOK: Duration = Duration::from_millis(100);
/// Between two looks at a file that rests: soon enough for a person, and next to nothing for hundreds of handlers.
pub const LOOK_IDLE: Duration = Duration::from_millis(400);

/// How long a file that is written in place has to be left alone before it is taken: longer than a copy over a network
/// usually pauses, and short for somebody who waits for it.
pub const REST: Duration = Duration::from_secs(2);

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
    /// Whether what led from the mark before to this one may have been writing in place, of which more is to come. A file
    /// that takes another one's place is whole, if whoever renames it has done his part.
    fn is_in_place(&self, before: Option<&Self>, was: bool) -> bool {
        match (before, self) {
            (_, Self::Not(_)) => false,
            // What lies there at the first look may be under way.
            (None, Self::There { .. }) => true,
            // Moved to where none was, or made there: only a move leaves the content older than the rest of the file.
            (Some(Self::Not(_)), Self::There { file, .. }) => file.changed <= file.modified,
            (Some(Self::There { file: before, .. }), Self::There { file, .. }) => {
                // Otherwise only the signature is another.
                if before == file { was } else { (before.device, before.inode) == (file.device, file.inode) }
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
        let (handler, source, since) = (handler.to_owned(), source.to_owned(), Instant::now());
        Self { handler, source, last: None, since, is_in_place: false, read: None, rest: REST }
    }

    async fn mark(&self) -> Mark {
        let (handler, source) = (self.handler.clone(), self.source.clone());
        // In one go: each hand-over to a thread that may block costs more than the look.
        let looked = tokio::task::spawn_blocking(move || {
            let signature = Stamp::of(&signature_path(&handler, &source)).ok();
            Stamp::of(&path_of(&handler, &source)).map(|file| Mark::There { file, signature })
        });
        let looked = looked.await.unwrap_or_else(|fault| Err(std::io::Error::other(fault)));
        looked.unwrap_or_else(|fault| Mark::Not(fault.kind()))
    }

    fn restless(&mut self, now: Mark) -> Look {
        self.is_in_place = now.is_in_place(self.last.as_ref(), self.is_in_place);
        self.since = Instant::now();
        self.last = Some(now);
        Look::Restless
    }

    /// Looks once. To be called [`LOOK`] after a look that found it restless, else after [`LOOK_IDLE`].
    ///
    /// Cancel safety: what a dropped look would have found, the next one finds.
    pub async fn look(&mut self) -> Look {
        let mark = self.mark().await;
        if self.read.as_ref() == Some(&mark) {
            self.last = Some(mark);
            return Look::Same;
        }
        if self.last.as_ref() != Some(&mark) {
            return self.restless(mark);
        }
        if self.is_in_place && self.since.elapsed() < self.rest {
            return Look::Restless;
        }
        let found = read(&self.handler, &self.source).await;
        let after = self.mark().await;
        if after != mark {
            return self.restless(after);
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
mod tests {
    use super::*;

    /// As long as a real one, so that parts of it can be written.
    fn component(marker: u8) -> Vec<u8> {
        let mut bytes = b"\0asm\x0d\0\x01\0".to_vec();
        for _ in 0..3 {
            // A custom section of 130 bytes: name of one byte, then content.
            bytes.extend([0, 0x82, 1, 1, b'm']);
            bytes.extend([marker; 128]);
        }
        bytes
    }

    /// One that waits not as long for what is written in place.
    fn hasty(path: &Path) -> FileWatch {
        FileWatch { rest: LOOK / 10, ..FileWatch::anew("h", path) }
    }

    async fn settled(watch: &mut FileWatch) -> Look {
        for _ in 0..4 {
            match watch.look().await {
                Look::Restless => {}
                found => return found,
            }
            // As its callers do: a file system's clock ticks slowly, and two changes within a tick look the same.
            tokio::time::sleep(LOOK / 5).await;
        }
        panic!("a file that nobody writes comes to rest");
    }

    #[tokio::test]
    async fn in_a_directory_the_file_is_named_like_the_handler() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("media.wasm"), "x").unwrap();
        assert_eq!(read("media", dir.path()).await.unwrap().bytes, "x");
        assert!(read("other", dir.path()).await.unwrap_err().to_string().contains("other.wasm"));
    }

    #[tokio::test]
    async fn a_missing_file_names_handler_path_and_fix() {
        let error = read("media", Path::new("no/such.wasm")).await.unwrap_err().to_string();
        assert!(
            error.contains("\"media\"")
                && error.contains("no/such.wasm")
                && error.contains("[handlers.media]"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn no_byte_beyond_the_cap_is_read_and_nothing_endless_is_opened() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("large.wasm");
        // Sparse: its size costs nothing, reading it would.
        let file = std::fs::File::create(&path).unwrap();
        file.set_len(ARTIFACT_BYTES_MAX).unwrap();
        assert_eq!(read("large", &path).await.unwrap().bytes.len() as u64, ARTIFACT_BYTES_MAX);
        for size in [ARTIFACT_BYTES_MAX + 1, 1 << 40] {
            file.set_len(size).unwrap();
            let error = read("large", &path).await.unwrap_err();
            assert!(matches!(error, ArtifactError::TooLarge { .. }), "{error}");
        }
        let error = read("zero", Path::new("/dev/zero")).await.unwrap_err();
        assert!(matches!(error, ArtifactError::NoFile { .. }), "{error}");
        assert!(error.to_string().contains("/dev/zero is no regular file"), "{error}");
    }

    #[tokio::test]
    async fn renaming_turning_a_link_and_writing_in_place_are_all_seen_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("h.wasm");
        std::fs::write(&path, component(1)).unwrap();
        let mut watch = hasty(&path);
        assert!(matches!(settled(&mut watch).await, Look::Read(_)));
        assert!(matches!(watch.look().await, Look::Same));
        let ways: [&dyn Fn(&Path); 3] = [
            &|draft| std::fs::rename(draft, &path).unwrap(),
            &|draft| std::fs::write(&path, std::fs::read(draft).unwrap()).unwrap(),
            &|draft| {
                let link = dir.path().join("link");
                std::os::unix::fs::symlink(draft, &link).unwrap();
                std::fs::rename(link, &path).unwrap();
            },
        ];
        for (way, marker) in ways.iter().zip(2..) {
            let draft = dir.path().join(format!("draft-{marker}"));
            std::fs::write(&draft, component(marker)).unwrap();
            way(&draft);
            let Look::Read(artifact) = settled(&mut watch).await else { panic!("it was changed") };
            assert_eq!(artifact.bytes, component(marker));
            assert!(matches!(watch.look().await, Look::Same), "it is told once");
        }
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(settled(&mut watch).await, Look::Fault(ArtifactError::Unreadable { .. })));
        assert!(matches!(watch.look().await, Look::Same), "it is told once");
        std::fs::write(&path, component(9)).unwrap();
        assert!(matches!(settled(&mut watch).await, Look::Read(_)), "it came back");
    }

    #[tokio::test]
    async fn no_half_of_a_file_is_ever_taken() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("h.wasm");
        let whole = component(1);
        for written in 1..whole.len() {
            std::fs::write(&path, &whole[..written]).unwrap();
            let found = settled(&mut hasty(&path)).await;
            // Between two sections nothing shows that more is to come; admission wants what is in the last one.
            let between = written >= 8 && (written - 8) % 133 == 0;
            match found {
                Look::Read(_) => assert!(between, "{written} of {} bytes were taken", whole.len()),
                Look::Fault(ArtifactError::CutOff { .. }) => assert!(!between),
                found => panic!("{written}: {found:?}"),
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_written_in_place_has_to_rest_and_what_is_renamed_has_not() {
        let dir = tempfile::tempdir().unwrap();
        let (path, draft) = (dir.path().join("h.wasm"), dir.path().join("draft"));
        let looks_until_read = async |watch: &mut FileWatch| {
            for looks in 1..100 {
                if let Look::Read(artifact) = watch.look().await {
                    return (looks, artifact.bytes);
                }
                tokio::time::advance(LOOK).await;
            }
            panic!("it comes to rest");
        };
        std::fs::write(&path, component(1)).unwrap();
        let mut watch = FileWatch::anew("h", &path);
        looks_until_read(&mut watch).await;

        std::fs::write(&draft, component(2)).unwrap();
        std::fs::rename(&draft, &path).unwrap();
        assert_eq!(looks_until_read(&mut watch).await, (2, component(2).into()));

        // The writer pauses between two sections, for less than the rest.
        let whole = component(3);
        std::fs::write(&path, &whole[..8 + 133]).unwrap();
        for _ in 0..15 {
            assert!(matches!(watch.look().await, Look::Restless));
            tokio::time::advance(LOOK).await;
        }
        std::fs::write(&path, &whole).unwrap();
        let (looks, bytes) = looks_until_read(&mut watch).await;
        assert_eq!(bytes, whole);
        assert!(looks > 20, "{looks} looks");

        // Made where none was, it may be under way as well.
        std::fs::remove_file(&path).unwrap();
        watch.look().await;
        std::fs::write(&path, component(4)).unwrap();
        assert!(looks_until_read(&mut watch).await.0 > 20);
    }

    #[test]
    fn other_files_are_not_called_cut_off() {
        for bytes in [&b"not wasm at all"[..], b"\x7fELF", &component(1)] {
            assert_eq!(cut_off(bytes), None, "{bytes:?}");
        }
        assert_eq!(cut_off(b""), Some(0));
        assert_eq!(cut_off(b"\0asm\x0d\0\x01\0\x01\xff\xff\xff\xff\xff\xff"), None, "not a size");
    }
}
