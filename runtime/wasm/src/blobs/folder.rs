//! A folder of this machine as a blob store, and what keeps a guest inside of it.
//!
//! A key cannot climb: its segments are never empty, `.` or `..`. But a folder may hold symbolic links, which lead
//! wherever they like; guests cannot make any. A key that leads out of the folder by one is refused, and not listed. Who
//! can change the folder by other ways than this at the very moment of a call can do without our help what this prevents.

use std::fs::{self, DirEntry};
use std::io;
use std::path::{Path as FsPath, PathBuf};

use object_store::local::LocalFileSystem;
use object_store::path::Path;
use url::Url;

/// A folder that exists, and where it really lies.
#[derive(Debug)]
pub(crate) struct Folder {
    /// As configured.
    path: PathBuf,
    /// Without links on the way.
    root: PathBuf,
}

/// One file or folder while listing.
struct Entry {
    /// The key, which for a folder ends with a `/`: so everything sorts as keys do.
    key: String,
    path: PathBuf,
}

// === impl Folder ===

impl Folder {
    pub(super) fn open(url: &Url) -> Result<(Self, LocalFileSystem), String> {
        if url.host_str().is_some_and(|host| !host.is_empty()) {
            return Err("a folder of this machine has three slashes: file:///folder".to_owned());
        }
        let path = url.to_file_path().map_err(|()| "it is not the path of a folder".to_owned())?;
        exists(&path, fs::metadata(&path))?;
        let store = LocalFileSystem::new_with_prefix(&path).map_err(|error| error.to_string())?;
        let root = path.canonicalize().map_err(|error| format!("folder {path:?}: {error}"))?;
        Ok((Self { path, root }, store))
    }

    /// Whether it is still there.
    pub(super) async fn probe(&self) -> Result<(), String> {
        exists(&self.path, tokio::fs::metadata(&self.path).await)
    }

    /// Whether what lies there, or would, is inside of the folder: also by whatever links lead there. Blocks.
    pub(crate) fn holds(&self, location: &Path) -> io::Result<bool> {
        let mut path = self.root.clone();
        for part in location.parts() {
            path.push(part.as_ref());
            let met = match fs::symlink_metadata(&path) {
                Ok(met) => met,
                // Nothing is there yet, and what is made will be where its parent is. A file on the way is told by
                // whoever opens what is behind it.
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
                {
                    return Ok(true);
                }
                Err(error) => return Err(error),
            };
            if met.is_symlink() {
                path = match path.canonicalize() {
                    Ok(real) if real.starts_with(&self.root) => real,
                    Ok(_) => return Ok(false),
                    // One that leads nowhere may lead out tomorrow.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
                    Err(error) => return Err(error),
                };
            }
        }
        Ok(true)
    }

    /// The first `limit` keys that begin so and come after that one, in order. Folders that are links are not looked
    /// into, for they may lead in circles. Blocks.
    pub(crate) fn keys(&self, prefix: &str, after: Option<&str>, limit: usize) -> io::Result<Vec<String>> {
        let mut found = Vec::new();
        let within = prefix.rsplit_once('/').map_or("", |(folder, _)| folder);
        let Ok(location) = Path::parse(within) else { return Ok(found) };
        if !self.holds(&location)? {
            return Ok(found);
        }
        let path = location.parts().fold(self.root.clone(), |path, part| path.join(part.as_ref()));
        let key = if within.is_empty() { String::new() } else { format!("{within}/") };
        self.gather(&Entry { key, path }, prefix, after, limit, &mut found)?;
        Ok(found)
    }

    fn gather(
        &self,
        folder: &Entry,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
        found: &mut Vec<String>,
    ) -> io::Result<()> {
        let listed = match fs::read_dir(&folder.path) {
            Ok(listed) => listed,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let mut entries = Vec::new();
        for entry in listed {
            let Some(entry) = self.entry(&folder.key, &entry?)? else { continue };
            let is_folder = entry.key.ends_with('/');
            let begins = entry.key.starts_with(prefix) || (is_folder && prefix.starts_with(&entry.key));
            // A folder may hold later keys even where it comes first itself.
            let comes = after.is_none_or(|after| {
                entry.key.as_str() > after || (is_folder && after.starts_with(&entry.key))
            });
            if begins && comes {
                entries.push(entry);
            }
        }
        entries.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        for entry in entries {
            if found.len() >= limit {
                break;
            }
            if entry.key.ends_with('/') {
                self.gather(&entry, prefix, after, limit, found)?;
            } else {
                found.push(entry.key);
            }
        }
        Ok(())
    }

    /// What of a folder's content guests can see.
    fn entry(&self, before: &str, entry: &DirEntry) -> io::Result<Option<Entry>> {
        let (path, kind) = (entry.path(), entry.file_type()?);
        let Ok(name) = entry.file_name().into_string() else { return Ok(None) };
        let mut key = format!("{before}{name}");
        let Ok(location) = Path::parse(&key) else { return Ok(None) };
        if is_being_written(&name) {
            return Ok(None);
        }
        if kind.is_symlink() {
            let is_file = fs::metadata(&path).is_ok_and(|met| met.is_file());
            return Ok((is_file && self.holds(&location)?).then_some(Entry { key, path }));
        }
        if kind.is_dir() {
            key.push('/');
        }
        Ok((kind.is_dir() || kind.is_file()).then_some(Entry { key, path }))
    }
}

/// Whether a file has the name of one that is being written: it is put in its place when it is whole.
pub(crate) fn is_being_written(name: &str) -> bool {
    let end = name.split_once('#').map_or("", |(_, end)| end);
    !end.is_empty() && end.bytes().all(|byte| byte.is_ascii_digit())
}

/// Says what to do about a folder that is none.
fn exists(folder: &FsPath, metadata: io::Result<fs::Metadata>) -> Result<(), String> {
    match metadata {
        Ok(metadata) if metadata.is_dir() => Ok(()),
        Ok(_) => Err(format!("{folder:?} is not a folder; point it to one")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(format!(
            "folder {folder:?} does not exist; make it (mkdir -p {folder:?}), mount its disk, or correct the path"
        )),
        Err(error) => Err(format!("folder {folder:?}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn folder(files: &[&str]) -> (tempfile::TempDir, Folder) {
        let site = tempfile::tempdir().unwrap();
        let path = site.path().join("inside");
        for file in files {
            let file = path.join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "x").unwrap();
        }
        fs::create_dir_all(&path).unwrap();
        let (folder, _) = Folder::open(&Url::from_file_path(&path).unwrap()).unwrap();
        (site, folder)
    }

    #[test]
    fn keys_come_in_the_order_of_keys_whatever_is_a_folder() {
        let files = ["a", "a.txt", "a0", "b/c", "b/d/e", "b-x", "b/d.txt", "empty/x/y", "z"];
        let (_site, folder) = folder(&files);
        fs::remove_file(folder.root.join("empty/x/y")).unwrap();
        let mut sorted: Vec<&str> = files.into_iter().filter(|file| !file.starts_with("empty")).collect();
        sorted.sort_unstable();
        assert_eq!(folder.keys("", None, 100).unwrap(), sorted);
        for (i, after) in sorted.iter().enumerate() {
            for limit in 0..4 {
                let rest = &sorted[i + 1..];
                let want = &rest[..limit.min(rest.len())];
                assert_eq!(folder.keys("", Some(after), limit).unwrap(), want, "after {after}");
            }
        }
        assert_eq!(folder.keys("b/d", None, 100).unwrap(), ["b/d.txt", "b/d/e"]);
        assert_eq!(folder.keys("b/", Some("b/c"), 100).unwrap(), ["b/d.txt", "b/d/e"]);
        assert_eq!(folder.keys("nowhere/", None, 100).unwrap(), Vec::<String>::new());
        assert_eq!(folder.keys("a/", None, 100).unwrap(), Vec::<String>::new(), "a file is no folder");
    }

    #[test]
    fn links_that_lead_out_are_not_there() {
        let (site, folder) = folder(&["dir/file", "plain"]);
        fs::create_dir(site.path().join("outside")).unwrap();
        fs::write(site.path().join("outside/secret"), "x").unwrap();
        fs::write(site.path().join("secret"), "x").unwrap();
        // Beside, and with a name that begins alike.
        fs::create_dir(site.path().join("inside-too")).unwrap();
        let root = &folder.root;
        symlink("../secret", root.join("file-out")).unwrap();
        symlink("../outside", root.join("dir-out")).unwrap();
        symlink("../inside-too", root.join("alike")).unwrap();
        symlink("/", root.join("dir/root")).unwrap();
        symlink("nowhere", root.join("broken")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        symlink("dir-out", root.join("twice")).unwrap();
        symlink("plain", root.join("file-in")).unwrap();
        symlink("dir", root.join("dir-in")).unwrap();
        symlink("..", root.join("dir/up")).unwrap();
        let holds = |key: &str| folder.holds(&Path::parse(key).unwrap());
        for key in [
            "file-out",
            "dir-out",
            "dir-out/secret",
            "dir-out/new",
            "alike/new",
            "dir/root/etc/passwd",
            "broken",
            "twice/secret",
            "dir-in/root/etc",
            "dir/up/file-out",
        ] {
            assert!(!holds(key).unwrap(), "{key}");
        }
        assert!(holds("loop").is_err());
        for key in
            ["plain", "file-in", "dir-in/file", "dir-in/new", "dir/up/plain", "new/deep/down", "plain/x"]
        {
            assert!(holds(key).unwrap(), "{key}");
        }
        assert_eq!(folder.keys("", None, 100).unwrap(), ["dir/file", "file-in", "plain"]);
        for prefix in ["dir-out/", "dir/root/", "dir/root/etc/", "alike/"] {
            assert_eq!(folder.keys(prefix, None, 100).unwrap(), Vec::<String>::new(), "{prefix}");
        }
    }

    #[test]
    fn files_that_are_being_written_are_not_listed() {
        let (_site, folder) = folder(&["a", "a#1", "a#", "#2", "a#b", "a#1b"]);
        assert_eq!(folder.keys("", None, 100).unwrap(), ["a", "a#", "a#1b", "a#b"]);
    }
}
