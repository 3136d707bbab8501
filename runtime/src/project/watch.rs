//! Sees that sources changed: by looking, because that works on every file system, in containers and with every editor.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::find::is_beside_sources;

/// Between two looks. A person does not notice it, and a few thousand files cost a few milliseconds of it.
pub(super) const LOOK: Duration = Duration::from_millis(300);
/// Files that are looked at: with more of them the folder is most likely not one of sources.
const FILES_MAX: usize = 20_000;

/// How files were at one moment: when each was changed last, and its size.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Snapshot(BTreeMap<PathBuf, (Option<SystemTime>, u64)>);

// === impl Snapshot ===

impl Snapshot {
    /// How these files, and all below these folders, are now, but for the file that is `built` from them. What cannot be
    /// read is as if it were not there.
    pub(crate) fn of<'a>(paths: impl IntoIterator<Item = &'a PathBuf>, built: Option<&Path>) -> Self {
        let mut files = BTreeMap::new();
        for path in paths {
            add(path, &mut files);
        }
        if let Some(built) = built {
            files.retain(|path, _| !is_same_file(path, built));
        }
        Self(files)
    }

    /// A file that is not as it was, if there is one: the first by path.
    pub(crate) fn changed<'a>(&'a self, now: &'a Self) -> Option<&'a Path> {
        let differs = |path: &&PathBuf| self.0.get(*path) != now.0.get(*path);
        self.0.keys().chain(now.0.keys()).filter(differs).min().map(PathBuf::as_path)
    }

    /// Waits until something is not as it was and has come to rest, so that an editor that writes several files is one
    /// change; returns how it is then. Cancel safe.
    pub(crate) async fn next(&self, paths: &[PathBuf], built: Option<&Path>) -> Self {
        let mut last = self.clone();
        loop {
            tokio::time::sleep(LOOK).await;
            let (all, built) = (paths.to_vec(), built.map(Path::to_owned));
            // A walk over a slow disk must not hold up what runs on this thread.
            let now = match tokio::task::spawn_blocking(move || Self::of(&all, built.as_deref())).await {
                Ok(now) => now,
                Err(_) => continue,
            };
            if now != *self && now == last {
                return now;
            }
            last = now;
        }
    }
}

/// Whether both name one file, however they are written.
fn is_same_file(a: &Path, b: &Path) -> bool {
    let real = |path: &Path| fs::canonicalize(path).ok();
    a.file_name() == b.file_name() && (a == b || real(a).is_some_and(|a| Some(a) == real(b)))
}

fn add(path: &Path, files: &mut BTreeMap<PathBuf, (Option<SystemTime>, u64)>) {
    if files.len() >= FILES_MAX {
        return;
    }
    let Ok(found) = fs::metadata(path) else { return };
    if !found.is_dir() {
        files.insert(path.to_owned(), (found.modified().ok(), found.len()));
        return;
    }
    let Ok(entries) = fs::read_dir(path) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        // Links to folders may lead round in a circle.
        let leads_round = entry.file_type().is_ok_and(|kind| kind.is_symlink()) && path.is_dir();
        if !leads_round && !is_beside_sources(&path) {
            add(&path, files);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_made_or_removed_is_a_change() {
        let root = tempfile::tempdir().unwrap();
        let (source, built) = (root.path().join("src/lib.rs"), root.path().join("target/x"));
        for file in [&source, &built] {
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "1").unwrap();
        }
        let paths = [root.path().to_owned()];
        let before = Snapshot::of(&paths, None);
        fs::write(&built, "22").unwrap();
        assert_eq!(before.changed(&Snapshot::of(&paths, None)), None, "what was built is no source");
        fs::write(&source, "22").unwrap();
        assert_eq!(before.changed(&Snapshot::of(&paths, None)), Some(source.as_path()));
        let more = root.path().join("src/more.rs");
        let before = Snapshot::of(&paths, None);
        fs::write(&more, "").unwrap();
        assert_eq!(before.changed(&Snapshot::of(&paths, None)), Some(more.as_path()));
        fs::remove_file(&more).unwrap();
        assert_eq!(before.changed(&Snapshot::of(&paths, None)), None);
        fs::remove_file(&source).unwrap();
        assert_eq!(before.changed(&Snapshot::of(&paths, None)), Some(source.as_path()));
    }

    #[test]
    fn what_a_command_makes_among_the_sources_is_no_change() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("build")).unwrap();
        let (source, built) = (root.path().join("a.ts"), root.path().join("build/a.wasm"));
        fs::write(&source, "1").unwrap();
        let (paths, spelled) = ([root.path().to_owned()], root.path().join("build/../build/a.wasm"));
        let now = || Snapshot::of(&paths, Some(&spelled));
        let before = now();
        fs::write(&built, "1").unwrap();
        assert_eq!(before.changed(&now()), None);
        fs::write(root.path().join("build/b.ts"), "1").unwrap();
        assert!(before.changed(&now()).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_is_told_once_it_has_come_to_rest() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("a.rs");
        fs::write(&file, "1").unwrap();
        let paths = vec![root.path().to_owned()];
        let before = Snapshot::of(&paths, None);
        let quiet = tokio::time::timeout(LOOK * 5, before.next(&paths, None)).await;
        assert!(quiet.is_err(), "nothing has changed");
        fs::write(&file, "22").unwrap();
        let after = tokio::time::timeout(LOOK * 20, before.next(&paths, None)).await.unwrap();
        assert_eq!(before.changed(&after), Some(file.as_path()));
    }
}
