//! What this process holds: memory, descriptors, threads and tasks.

use std::fs;

/// What this process holds now. Zero where the system does not tell (it does on Linux).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Vitals {
    /// Bytes of memory that are in the machine's, not only promised.
    pub resident: u64,
    /// The most of them since [`Vitals::forget_peak`].
    pub resident_peak: u64,
    /// Open descriptors.
    pub descriptors: usize,
    /// Threads.
    pub threads: usize,
    /// Tasks of the runtime this is called on.
    pub tasks: usize,
}

impl Vitals {
    /// Counts.
    #[must_use]
    pub fn now() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let bytes = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key));
            let kib = line.and_then(|rest| rest.trim().trim_end_matches(" kB").trim().parse::<u64>().ok());
            kib.unwrap_or(0) * 1024
        };
        let entries = |folder: &str| fs::read_dir(folder).map(Iterator::count).unwrap_or(0);
        Self {
            resident: bytes("VmRSS:"),
            resident_peak: bytes("VmHWM:"),
            descriptors: entries("/proc/self/fd"),
            threads: entries("/proc/self/task"),
            tasks: tokio::runtime::Handle::try_current()
                .map_or(0, |handle| handle.metrics().num_alive_tasks()),
        }
    }

    /// Begins a new peak. Where the system does not allow that, the peak is that of the whole process.
    pub fn forget_peak() {
        let _ = fs::write("/proc/self/clear_refs", "5");
    }
}
