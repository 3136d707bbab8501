//! What a compiler process takes from itself before it reads a byte: bounds that it cannot raise again, descriptors it
//! was not meant to have, and the chance to outlive its host.

use std::io;
use std::time::Duration;

/// Whether this system has what it takes.
pub(super) const IS_SUPPORTED: bool = cfg!(target_os = "linux");

/// What the process keeps.
pub(super) struct Bounds {
    /// Bytes of address space.
    pub(super) memory: u64,
    /// Processor time in whole seconds.
    pub(super) cpu: Duration,
    /// The host's process: without it there is nobody to compile for.
    pub(super) host: i32,
}

/// Confines this process, for good.
#[cfg(target_os = "linux")]
pub(super) fn confine(bounds: &Bounds) -> io::Result<()> {
    use rustix::process::{Resource, Signal, getppid, set_parent_process_death_signal};

    set_parent_process_death_signal(Some(Signal::KILL))?;
    // It may have died before that call.
    if getppid().map(|host| host.as_raw_nonzero().get()) != Some(bounds.host) {
        return Err(io::Error::other("the host that started this process is gone"));
    }
    // Where the machine runs out of memory, this is what can go. Without /proc it is no worse than anything else.
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    close_inherited();
    nix::sys::prctl::set_no_new_privs()?;
    let cpu = bounds.cpu.as_secs().max(1);
    for (resource, most) in [
        (Resource::As, bounds.memory),
        (Resource::Core, 0),
        (Resource::Fsize, 0),
        (Resource::Nofile, STANDARD_DESCRIPTORS),
        // No further process or thread; root is not bound by it.
        (Resource::Nproc, 0),
    ] {
        limit(resource, most, most)?;
    }
    // The first signal says which bound it was; the second cannot be ignored.
    limit(Resource::Cpu, cpu, cpu + 1)
}

#[cfg(not(target_os = "linux"))]
pub(super) fn confine(_: &Bounds) -> io::Result<()> {
    Err(io::Error::other("compiler processes need Linux"))
}

/// Input, output and errors.
#[cfg(target_os = "linux")]
const STANDARD_DESCRIPTORS: u64 = 3;

/// Lowers a limit; where the host itself has a lower one, that stays.
#[cfg(target_os = "linux")]
fn limit(resource: rustix::process::Resource, soft: u64, hard: u64) -> io::Result<()> {
    use rustix::process::{Rlimit, getrlimit, setrlimit};

    let most = getrlimit(resource).maximum;
    let within = |value: u64| Some(most.map_or(value, |most| value.min(most)));
    setrlimit(resource, Rlimit { current: within(soft), maximum: within(hard) })?;
    Ok(())
}

/// Closes what the host's own starter left open and marked for handing on; the host itself marks nothing so.
#[cfg(target_os = "linux")]
fn close_inherited() {
    let Ok(listing) = std::fs::read_dir("/proc/self/fd") else { return };
    // All numbers first: the listing has a descriptor of its own, which is gone when the closing begins.
    let open: Vec<i32> = listing.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
    let first = i32::try_from(STANDARD_DESCRIPTORS).unwrap_or(i32::MAX);
    for descriptor in open.into_iter().filter(|descriptor| *descriptor >= first) {
        // Nothing in this process has opened one yet, so none is anybody's.
        let _ = nix::unistd::close(descriptor);
    }
}
