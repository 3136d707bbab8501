//! Compiled components on disk.
//!
//! A compiled component is machine code: whoever can put a file here runs code in the host. So the folder belongs to
//! the host's user alone, every entry carries a keyed hash over its bytes and its name, under a key that never leaves
//! the folder, and an entry that does not hold up is thrown away and compiled anew.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use hmac::Hmac;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use wasmtime::component::Component;

use crate::code::Code;
use crate::engine::{PROPOSALS, Pool};
use crate::error::WasmError;
use crate::secret::keyed;
use crate::shape::CAPS;

/// A folder of compiled components. Several hosts of one user may share it. Cheap to clone.
#[derive(Clone)]
pub struct CompileCache(Arc<Inner>);

struct Inner {
    folder: PathBuf,
    key: [u8; KEY_BYTES],
    bytes_max: u64,
}

/// The place of one compiled component.
pub(crate) struct Entry<'a> {
    cache: &'a Inner,
    name: String,
}

const KEY_BYTES: usize = 32;
const MAC_BYTES: usize = 32;
/// Bytes of all entries together; the longest unused go first. A component has about one to ten megabytes.
const BYTES_MAX: u64 = 1 << 30;
/// A name of its own inside the given folder, whose permissions are the operator's business.
const FOLDER: &str = "cells";
const KEY_FILE: &str = "key";
const ENDING: &str = "cwasm";
/// Other versions may hold artifacts to other rules.
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// To be changed with what happens to an artifact between its digest and the compiler: how it is checked, how prepared.
const PREPARATION: &str = "custom sections stripped 1";

// === impl CompileCache ===

impl CompileCache {
    /// Opens or makes the cache in a folder of its own inside `dir`. Blocks on the disk.
    ///
    /// # Errors
    /// [`WasmError::CacheDir`] when it cannot be made or read; [`WasmError::CacheOpen`] when others may enter it.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, WasmError> {
        let folder = dir.as_ref().join(FOLDER);
        let fault = |what, path: &Path| {
            let path = path.to_owned();
            move |source| WasmError::CacheDir { path, what, source }
        };
        fs::create_dir_all(dir.as_ref()).map_err(fault("cannot be made", dir.as_ref()))?;
        match DirBuilder::new().mode(0o700).create(&folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(fault("cannot be made", &folder)(error));
            }
            Ok(()) | Err(_) => {}
        }
        check_private(&folder, 0o700)?;
        let key_file = folder.join(KEY_FILE);
        let key = key(&folder, &key_file).map_err(fault("its key cannot be read or made", &key_file))?;
        check_private(&key_file, 0o600)?;
        Ok(Self(Arc::new(Inner { folder, key, bytes_max: BYTES_MAX })))
    }

    /// The same cache with another bound on its bytes. Default 1 GiB.
    #[must_use]
    pub fn with_bytes_max(self, bytes_max: u64) -> Self {
        let Inner { folder, key, .. } = &*self.0;
        Self(Arc::new(Inner { folder: folder.clone(), key: *key, bytes_max }))
    }

    /// Where the entries lie.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.0.folder
    }

    /// The place for this artifact as it is compiled for this pool under today's rules of admission. Entries of other engines
    /// and rules have other names, and so other keyed hashes.
    pub(crate) fn entry(&self, pool: &Pool, digest: &str) -> Entry<'_> {
        let mut settings = Sha256::new();
        settings.update(pool.fingerprint());
        settings.update(profile());
        let settings = hex::encode(&settings.finalize()[..8]);
        Entry { cache: &self.0, name: format!("{digest}-{settings}.{ENDING}") }
    }
}

/// What an artifact has been held to before it was compiled, as it is not again when it is found here, and how it was prepared.
fn profile() -> String {
    format!("{VERSION} {PREPARATION} {CAPS:?} {PROPOSALS:?}")
}

impl std::fmt::Debug for CompileCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("CompileCache").field(&self.0.folder).finish()
    }
}

/// Others must neither plant entries nor read the key.
fn check_private(path: &Path, fix: u32) -> Result<(), WasmError> {
    let found = fs::symlink_metadata(path).map_err(|source| WasmError::CacheDir {
        path: path.to_owned(),
        what: "cannot be looked at",
        source,
    })?;
    if found.file_type().is_symlink() || found.uid() != rustix::process::geteuid().as_raw() {
        let source = io::Error::other("it belongs to another user or is a link");
        return Err(WasmError::CacheDir { path: path.to_owned(), what: "cannot be trusted", source });
    }
    let mode = found.mode() & 0o777;
    if mode & 0o077 == 0 { Ok(()) } else { Err(WasmError::CacheOpen { path: path.to_owned(), mode, fix }) }
}

/// Reads the key, or makes one. Of several hosts that start together the first one's key stays.
fn key(folder: &Path, path: &Path) -> io::Result<[u8; KEY_BYTES]> {
    if !path.exists() {
        let draft = draft(folder);
        let written = write_private(&draft, &[&rand::random::<[u8; KEY_BYTES]>()]);
        let linked = written.and_then(|file| file.sync_all()).and_then(|()| fs::hard_link(&draft, path));
        let _ = fs::remove_file(&draft);
        match linked {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    let key = fs::read(path)?;
    key.try_into()
        .map_err(|_| io::Error::other("it has the wrong size; remove it, and the cache is filled anew"))
}

/// A name that no other writer uses.
fn draft(folder: &Path) -> PathBuf {
    folder.join(format!("{:016x}.draft", rand::random::<u64>()))
}

fn write_private(path: &Path, parts: &[&[u8]]) -> io::Result<File> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    for part in parts {
        file.write_all(part)?;
    }
    Ok(file)
}

// === impl Entry ===

impl Entry<'_> {
    /// Where it lies.
    pub(crate) fn folder(&self) -> &Path {
        &self.cache.folder
    }

    fn path(&self) -> PathBuf {
        self.cache.folder.join(&self.name)
    }

    /// The component, when a sound one is kept here. An unsound one is removed.
    pub(crate) fn load(&self, engine: &wasmtime::Engine) -> Option<Component> {
        let path = self.path();
        match self.check(&path).map(|code| code.load(engine)) {
            Ok(Ok(component)) => {
                // The time of the last use decides what goes when the cache is full; not knowing it does no harm.
                let _ = File::open(&path).and_then(|file| file.set_modified(SystemTime::now()));
                Some(component)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => self.discard(&path, &error.to_string()),
            Ok(Err(error)) => self.discard(&path, &format!("{error:#}")),
        }
    }

    fn discard(&self, path: &Path, why: &str) -> Option<Component> {
        tracing::warn!(entry = self.name, why, "a kept compiled component is not sound; it is compiled anew");
        let _ = fs::remove_file(path);
        None
    }

    /// The file, when it is what this cache wrote under this name.
    fn check(&self, path: &Path) -> io::Result<Code> {
        let bytes = fs::read(path)?;
        let (code, mac) = bytes
            .split_last_chunk::<MAC_BYTES>()
            .ok_or_else(|| io::Error::other("it is shorter than its own signature"))?;
        if bool::from(self.mac(code).ct_eq(mac)) {
            Ok(Code::kept(path.to_owned()))
        } else {
            Err(io::Error::other("its signature does not fit: it was changed, or written by another host"))
        }
    }

    fn mac(&self, code: &[u8]) -> Vec<u8> {
        // The name has the artifact's digest and the engine's settings, so an entry cannot stand in for another one.
        let name = keyed::<Hmac<Sha256>>(&self.cache.key, self.name.as_bytes());
        keyed::<Hmac<Sha256>>(&name, code)
    }

    /// Keeps machine code here, atomically: others see all of it or nothing.
    pub(crate) fn store(&self, code: &Code) -> io::Result<()> {
        let Some(code) = code.bytes() else { return Ok(()) };
        let draft = draft(&self.cache.folder);
        // Not waiting for the disk, which takes longer than to compile a small artifact: what a power cut leaves of it has
        // the wrong hash, and is compiled anew.
        let written =
            write_private(&draft, &[code, &self.mac(code)]).and_then(|_| fs::rename(&draft, self.path()));
        if written.is_err() {
            let _ = fs::remove_file(&draft);
        }
        written?;
        self.cache.trim(&self.name)
    }
}

// === impl Inner ===

impl Inner {
    /// Removes the longest unused entries until the rest fits, but never the one that was just written.
    fn trim(&self, keep: &str) -> io::Result<()> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let is_entry = Path::new(&name).extension().is_some_and(|ending| ending == ENDING);
            // Another host may have removed it meanwhile.
            let Ok(found) = entry.metadata() else { continue };
            if is_entry {
                entries.push((found.modified()?, found.len(), name));
            }
        }
        entries.sort_unstable();
        let mut total: u64 = entries.iter().map(|(_, size, _)| size).sum();
        for (_, size, name) in entries {
            if total <= self.bytes_max {
                break;
            }
            if name != keep {
                let _ = fs::remove_file(self.folder.join(name));
                total -= size;
            }
        }
        Ok(())
    }
}
