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
        // No further process or thread: those that compile are there already, and have not been given anything yet. Root
        // is not bound by it, but by the filter of calls.
        (Resource::Nproc, 0),
    ] {
        limit(resource, most, most)?;
    }
    // The first signal says which bound it was; the second cannot be ignored.
    limit(Resource::Cpu, cpu, cpu + 1)?;
    filter_calls();
    Ok(())
}

/// What compiling asks of the kernel: memory, its three pipes, its own signals and its end. Everything else is answered
/// with `EPERM`: no process, program, file, socket or foreign process is within its reach, whoever it runs as.
///
/// A kernel without such filters leaves the other bounds, which is why a failure is none of this process.
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
fn filter_calls() {
    use nix::libc;
    use seccompiler::{
        BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
        SeccompRule,
    };

    const CALLS: &[libc::c_long] = &[
        libc::SYS_brk,
        libc::SYS_clock_gettime,
        libc::SYS_close,
        libc::SYS_exit,
        libc::SYS_exit_group,
        libc::SYS_fstat,
        libc::SYS_futex,
        libc::SYS_getpid,
        libc::SYS_getrandom,
        libc::SYS_gettid,
        libc::SYS_madvise,
        libc::SYS_mmap,
        libc::SYS_mprotect,
        libc::SYS_mremap,
        libc::SYS_munmap,
        libc::SYS_ppoll,
        libc::SYS_read,
        libc::SYS_rt_sigaction,
        libc::SYS_rt_sigprocmask,
        libc::SYS_rt_sigreturn,
        libc::SYS_sched_getaffinity,
        libc::SYS_sched_yield,
        libc::SYS_sigaltstack,
        libc::SYS_write,
        libc::SYS_writev,
    ];
    // A signal to itself, which is how a process aborts.
    let own = u64::from(std::process::id());
    let to_itself = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, own);
    let to_itself = to_itself.and_then(|condition| SeccompRule::new(vec![condition]));
    let (Ok(to_itself), Ok(architecture)) = (to_itself, std::env::consts::ARCH.try_into()) else { return };
    let rules = CALLS.iter().map(|call| (*call, Vec::new()));
    let rules = rules.chain([(libc::SYS_tgkill, vec![to_itself])]).collect();
    let refused = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let filter = SeccompFilter::new(rules, refused, SeccompAction::Allow, architecture);
    let program: Result<BpfProgram, _> = filter.and_then(TryInto::try_into);
    if let Ok(program) = program {
        let _ = seccompiler::apply_filter_all_threads(&program);
    }
}

#[cfg(all(target_os = "linux", not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
fn filter_calls() {}

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
