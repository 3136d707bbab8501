//! What the kernel tells of those who write a file: what no look at the file shows is whether its writer is done.
//!
//! It tells it of directories that are watched. All of a process share one watcher, as a user may have few of them (128),
//! and whoever asks takes in what was told for all. Where there is none, nothing is told and looking has to do: on other
//! systems, for a directory that may not be read, when the user's watchers are used up, and for what is written from
//! elsewhere onto a file system of the network or through another name or mount of the file alone. Of a writer that paused
//! before the directory was watched nothing is told until he goes on.

#[cfg(not(target_os = "linux"))]
pub(super) use silent::Place;
#[cfg(target_os = "linux")]
pub(super) use watcher::Place;

/// What was told of one name in a directory.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Told {
    /// Whether somebody wrote to the file and has not closed it. Making it is not enough: a hard link is made as well, and
    /// nobody ever closes that.
    pub(super) is_open: bool,
    /// Whether the file was made under this name, and not moved there.
    pub(super) is_made: bool,
    /// How often something happened.
    pub(super) changes: u64,
}

#[cfg(target_os = "linux")]
mod watcher {
    use std::collections::HashMap;
    use std::ffi::{OsStr, OsString};
    use std::mem::MaybeUninit;
    use std::os::fd::OwnedFd;
    use std::os::unix::ffi::OsStrExt;
    use std::path::Path;
    use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

    use rustix::fs::inotify::{self, CreateFlags, Event, ReadFlags, Reader, WatchFlags};
    use rustix::io::Errno;

    use super::Told;

    /// Bytes that are read at once: some dozens of events, and far more than the longest.
    const READ_BYTES: usize = 4096;
    /// Events that are taken in at once: as many as the kernel keeps. Who makes them faster than they are taken in holds
    /// nobody up.
    const EVENTS_MAX: usize = 16_384;

    /// How often a directory is tried while others go: the next look tries again.
    const TRIES: usize = 3;

    /// The one of this process, unless none can be had.
    static WATCHER: LazyLock<Option<Watcher>> = LazyLock::new(|| Watcher::new().ok());

    /// Where a file lies.
    #[derive(Debug)]
    pub(in super::super) struct Place {
        /// The name it is looked for under. Held even while that is a link: a file may be made in the link's place.
        own: Held,
        /// The name that the link leads to, whose writers are those of the file.
        target: Option<Held>,
    }

    /// One name in one directory, of which is told as long as somebody holds it.
    #[derive(Debug)]
    struct Held {
        watcher: &'static Watcher,
        watch: i32,
        name: OsString,
    }

    #[derive(Debug)]
    struct Watcher {
        events: OwnedFd,
        watched: Mutex<Watched>,
    }

    /// What is watched, and what was told of it.
    #[derive(Debug, Default)]
    struct Watched {
        /// By what the kernel calls them, which it never uses twice.
        directories: HashMap<i32, HashMap<OsString, Name>>,
        /// How many directories were watched and are not any more.
        gone: u64,
    }

    #[derive(Debug, Default)]
    struct Name {
        holders: usize,
        told: Told,
    }

    // === impl Place ===

    impl Place {
        /// Where the file of this path lies. None when nothing is told of it. Looks the path up, which may block.
        pub(in super::super) fn of(path: &Path) -> Option<Self> {
            Self::on(WATCHER.as_ref()?, path)
        }

        fn on(watcher: &'static Watcher, path: &Path) -> Option<Self> {
            let own = Held::on(watcher, path)?;
            let target = path.is_symlink().then(|| std::fs::canonicalize(path).ok()).flatten();
            Some(Self { own, target: target.and_then(|target| Held::on(watcher, &target)) })
        }

        /// What was told so far. None when nothing will be any more, as the directory is gone.
        pub(in super::super) fn told(&self) -> Option<Told> {
            self.target.as_ref().unwrap_or(&self.own).told()
        }
    }

    // === impl Held ===

    impl Held {
        fn on(watcher: &'static Watcher, path: &Path) -> Option<Self> {
            let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
            let name = path.file_name()?.to_owned();
            let watch = watcher.hold(directory.unwrap_or(Path::new(".")), &name)?;
            Some(Self { watcher, watch, name })
        }

        fn told(&self) -> Option<Told> {
            let mut watched = self.watcher.watched();
            watched.take_in(&self.watcher.events);
            watched.directories.get(&self.watch)?.get(&self.name).map(|name| name.told)
        }
    }

    impl Drop for Held {
        fn drop(&mut self) {
            self.watcher.let_go(self.watch, &self.name);
        }
    }

    // === impl Watcher ===

    impl Watcher {
        fn new() -> Result<Self, Errno> {
            let events = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
            Ok(Self { events, watched: Mutex::default() })
        }

        fn watched(&self) -> MutexGuard<'_, Watched> {
            self.watched.lock().unwrap_or_else(PoisonError::into_inner)
        }

        fn hold(&self, directory: &Path, name: &OsStr) -> Option<i32> {
            // Who still writes to a file that lies under no name any more says nothing about the one that took its name.
            let what = WatchFlags::ONLYDIR
                | WatchFlags::EXCL_UNLINK
                | WatchFlags::CREATE
                | WatchFlags::MODIFY
                | WatchFlags::CLOSE_WRITE
                | WatchFlags::MOVE
                | WatchFlags::DELETE;
            for _ in 0..TRIES {
                let gone = self.watched().gone;
                // Not under the lock: a file server that does not answer would hold up the looks at all other files.
                let watch = inotify::add_watch(&self.events, directory, what).ok()?;
                let mut watched = self.watched();
                // How a file was made that a link is turned to now is nothing that happened here.
                watched.take_in(&self.events);
                // Otherwise it may be this one that somebody let go meanwhile.
                if watched.gone == gone {
                    let names = watched.directories.entry(watch).or_default();
                    names.entry(name.to_owned()).or_default().holders += 1;
                    return Some(watch);
                }
            }
            None
        }

        fn let_go(&self, watch: i32, name: &OsStr) {
            let mut watched = self.watched();
            let Some(names) = watched.directories.get_mut(&watch) else { return };
            if let Some(held) = names.get_mut(name) {
                held.holders -= 1;
                if held.holders == 0 {
                    names.remove(name);
                }
            }
            if names.is_empty() {
                watched.forget_directory(watch);
                // Fails when the directory went meanwhile.
                let _ = inotify::remove_watch(&self.events, watch);
            }
        }
    }

    // === impl Watched ===

    impl Watched {
        /// Takes in what was told since the last time.
        fn take_in(&mut self, events: &OwnedFd) {
            let mut buffer = [MaybeUninit::uninit(); READ_BYTES];
            let mut reader = Reader::new(events, &mut buffer);
            let mut taken = 0;
            // What was read is taken in whole: it is told once.
            while taken < EVENTS_MAX || !reader.is_buffer_empty() {
                match reader.next() {
                    Ok(event) => self.add(&event),
                    Err(Errno::AGAIN) => return,
                    Err(_) => return self.forget(),
                }
                taken += 1;
            }
        }

        fn add(&mut self, event: &Event<'_>) {
            if event.events().contains(ReadFlags::QUEUE_OVERFLOW) {
                return self.forget();
            }
            if event.events().contains(ReadFlags::IGNORED) {
                return self.forget_directory(event.wd());
            }
            let names = self.directories.get_mut(&event.wd());
            if let (Some(names), Some(name)) = (names, event.file_name())
                && let Some(name) = names.get_mut(OsStr::from_bytes(name.to_bytes()))
            {
                name.told.add(event.events());
            }
        }

        /// Some of what was told is lost, so nothing is known of any.
        fn forget(&mut self) {
            for name in self.directories.values_mut().flat_map(HashMap::values_mut) {
                name.told = Told { changes: name.told.changes, ..Told::default() };
            }
        }

        fn forget_directory(&mut self, watch: i32) {
            self.directories.remove(&watch);
            self.gone += 1;
        }
    }

    // === impl Told ===

    impl Told {
        fn add(&mut self, event: ReadFlags) {
            self.changes += 1;
            if event.contains(ReadFlags::MODIFY) {
                self.is_open = true;
            } else if event.contains(ReadFlags::CLOSE_WRITE) {
                self.is_open = false;
            } else {
                // Another file has the name now, or none.
                self.is_open = false;
                self.is_made = event.contains(ReadFlags::CREATE);
            }
        }
    }

    #[cfg(test)]
    mod tests {
        use std::fs::File;
        use std::io::Write;

        use super::*;

        /// One that other tests have no part in.
        fn watcher() -> &'static Watcher {
            Box::leak(Box::new(Watcher::new().unwrap()))
        }

        fn told(place: &Place) -> (bool, bool) {
            let told = place.told().unwrap();
            (told.is_open, told.is_made)
        }

        #[test]
        fn a_file_is_open_from_the_first_byte_until_it_is_closed_moved_over_or_removed() {
            let dir = tempfile::tempdir().unwrap();
            let (path, draft) = (dir.path().join("h"), dir.path().join("draft"));
            let place = Place::on(watcher(), &path).unwrap();
            assert_eq!(place.told().unwrap(), Told::default());
            let mut file = File::create(&path).unwrap();
            assert_eq!(told(&place), (false, true), "made, and nothing in it");
            file.write_all(b"half").unwrap();
            assert_eq!(told(&place), (true, true));
            drop(file);
            assert_eq!(told(&place), (false, true));

            let mut file = File::options().append(true).open(&path).unwrap();
            file.write_all(b"more").unwrap();
            assert_eq!(told(&place), (true, true));
            std::fs::write(&draft, "whole").unwrap();
            std::fs::rename(&draft, &path).unwrap();
            file.write_all(b"to the one before").unwrap();
            assert_eq!(told(&place), (false, false), "moved");
            let mut file = File::create(&path).unwrap();
            file.write_all(b"half").unwrap();
            assert_eq!(told(&place), (true, false));
            std::fs::remove_file(&path).unwrap();
            assert_eq!(told(&place), (false, false), "removed");
            std::fs::write(&draft, "whole").unwrap();
            std::fs::hard_link(&draft, &path).unwrap();
            assert_eq!(told(&place), (false, true), "nobody will close it");
        }

        #[test]
        fn only_what_happens_under_the_name_counts_and_links_are_followed() {
            let dir = tempfile::tempdir().unwrap();
            let other = tempfile::tempdir().unwrap();
            let (path, target) = (dir.path().join("h"), other.path().join("target"));
            std::fs::write(&target, "").unwrap();
            std::os::unix::fs::symlink(&target, &path).unwrap();
            let place = Place::on(watcher(), &path).unwrap();
            let mut neighbour = File::create(other.path().join("neighbour")).unwrap();
            neighbour.write_all(b"x").unwrap();
            assert_eq!(place.told().unwrap(), Told::default());
            let mut file = File::create(&path).unwrap();
            file.write_all(b"x").unwrap();
            assert_eq!(told(&place), (true, false));
            // The link's own name is held as well, so what took its place since is known.
            std::fs::remove_file(&path).unwrap();
            let mut file = File::create(&path).unwrap();
            file.write_all(b"half").unwrap();
            let found = Place::on(place.own.watcher, &path).unwrap();
            assert_eq!(told(&found), (true, true));
        }

        #[test]
        fn nothing_is_kept_of_what_nobody_holds_and_of_what_is_gone() {
            let dir = tempfile::tempdir().unwrap();
            let watcher = watcher();
            let place = |name: &str| Place::on(watcher, &dir.path().join(name)).unwrap();
            let (one, same, other) = (place("one"), place("one"), place("other"));
            assert_eq!(watcher.watched().directories.len(), 1);
            drop((one, other));
            std::fs::write(dir.path().join("one"), "").unwrap();
            assert_eq!(told(&same), (false, true), "another holder is still told");
            drop(same);
            assert!(watcher.watched().directories.is_empty());
            let gone = place("gone");
            drop(dir);
            assert_eq!(gone.told(), None);
            assert!(watcher.watched().directories.is_empty());
            drop(gone);
        }

        #[test]
        fn when_more_happens_than_the_kernel_keeps_nothing_is_known() {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("h");
            let place = Place::on(watcher(), &path).unwrap();
            let mut file = File::create(&path).unwrap();
            file.write_all(b"half").unwrap();
            assert_eq!(told(&place), (true, true));
            let kept = std::fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
            let neighbours = ["a", "b"].map(|name| File::create(dir.path().join(name)).unwrap());
            // In turns: two of the same in a row are told as one.
            for _ in 0..=kept.trim().parse::<usize>().unwrap() / 2 {
                for neighbour in &neighbours {
                    neighbour.set_len(1).unwrap();
                }
            }
            place.told();
            assert_eq!(told(&place), (false, false));
            file.write_all(b"more").unwrap();
            assert_eq!(told(&place), (true, false), "what comes then counts again");
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod silent {
    use std::path::Path;

    use super::Told;

    /// There is none.
    #[derive(Debug)]
    pub(in super::super) enum Place {}

    impl Place {
        pub(in super::super) fn of(_: &Path) -> Option<Self> {
            None
        }

        pub(in super::super) fn told(&self) -> Option<Told> {
            match *self {}
        }
    }
}
