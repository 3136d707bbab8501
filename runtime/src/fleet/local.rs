//! The host on this machine that holds the embedded store: it says in a file beside the store where it can be reached,
//! for commands that find the store taken.

use std::fs;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The file in the store's directory.
const FILE: &str = "host.json";
/// Bytes of it that are read.
const BYTES_MAX: u64 = 4096;

/// Where a host on this machine can be reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LocalHost {
    /// Its HTTP side.
    pub(crate) url: String,
    /// Its process.
    pub(crate) pid: u32,
}

/// The file of this process; dropping it takes it away.
#[derive(Debug)]
pub(crate) struct Announced {
    path: PathBuf,
    pid: u32,
}

// === impl LocalHost ===

impl LocalHost {
    /// The host that holds the store in this directory; none when there is none, or the file is of one that has died.
    pub(crate) fn find(directory: &Path) -> Option<Self> {
        read(&directory.join(FILE)).filter(|host| lives(host.pid))
    }
}

// === impl Announced ===

impl Announced {
    /// Says where this process can be reached. A file that cannot be written costs commands their way to it, and no
    /// more: it is logged.
    pub(crate) fn write(directory: &Path, address: SocketAddr) -> Option<Self> {
        let (path, pid) = (directory.join(FILE), std::process::id());
        let host = LocalHost { url: url(address), pid };
        let beside = directory.join(format!("{FILE}.{pid}"));
        let written = serde_json::to_vec(&host).map_err(std::io::Error::other).and_then(|json| {
            let mut file = fs::File::create(&beside)?;
            file.write_all(&json)?;
            // Whole or not at all for whoever reads it meanwhile.
            fs::rename(&beside, &path)
        });
        match written {
            Ok(()) => Some(Self { path, pid }),
            Err(error) => {
                let _ = fs::remove_file(&beside);
                tracing::warn!(path = %path.display(), %error, "commands on this machine will not find this host");
                None
            }
        }
    }
}

impl Drop for Announced {
    fn drop(&mut self) {
        // One that another host wrote since stays.
        if read(&self.path).is_some_and(|host| host.pid == self.pid) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Whether there is such a process on this machine.
pub(crate) fn lives(pid: u32) -> bool {
    let Some(pid) = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw) else { return false };
    match rustix::process::test_kill_process(pid) {
        // Another user's process lives as well.
        Ok(()) | Err(rustix::io::Errno::PERM) => true,
        Err(_) => false,
    }
}

/// An address that can be connected to: a host that listens on every address is reached by the loopback one.
pub(crate) fn url(address: SocketAddr) -> String {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    format!("http://{}", SocketAddr::new(ip, address.port()))
}

fn read(path: &Path) -> Option<LocalHost> {
    if fs::metadata(path).ok()?.len() > BYTES_MAX {
        return None;
    }
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_found_while_it_lives() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(LocalHost::find(directory.path()), None);
        let announced = Announced::write(directory.path(), ([0, 0, 0, 0], 8787).into()).unwrap();
        let found = LocalHost::find(directory.path()).unwrap();
        assert_eq!((found.url.as_str(), found.pid), ("http://127.0.0.1:8787", std::process::id()));
        drop(announced);
        assert_eq!(LocalHost::find(directory.path()), None);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_file_of_the_dead_or_of_nonsense_is_ignored() {
        let directory = tempfile::tempdir().unwrap();
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        let dead = format!("{{\"url\":\"http://127.0.0.1:1\",\"pid\":{}}}", child.id());
        for text in [dead.as_str(), "{", "", "{\"url\":1}", "{\"url\":\"x\",\"pid\":0}", &"x".repeat(5000)] {
            fs::write(directory.path().join(FILE), text).unwrap();
            assert_eq!(LocalHost::find(directory.path()), None, "{text}");
        }
        // What another host wrote stays when this one goes.
        let announced = Announced::write(directory.path(), ([127, 0, 0, 1], 1).into()).unwrap();
        fs::write(directory.path().join(FILE), &dead).unwrap();
        drop(announced);
        assert!(directory.path().join(FILE).exists());
    }
}
