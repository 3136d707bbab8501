//! What the operating system knows of this process, under the names that every Prometheus client uses for it.
//!
//! What cannot be read is left out: not every system has it.

use std::fmt;
use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

use super::write;

/// When this process began, as far as its metrics know.
#[derive(Debug, Clone, Copy)]
pub(super) struct Start(f64);

/// What is known of a process.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Look {
    resident_bytes: Option<u64>,
    open_files: Option<u64>,
    files_max: Option<u64>,
    memory_limit_bytes: Option<u64>,
}

// === impl Start ===

impl Start {
    pub(super) fn now() -> Self {
        Self(
            SystemTime::now().duration_since(UNIX_EPOCH).map(|since| since.as_secs_f64()).unwrap_or_default(),
        )
    }

    /// Writes the metrics of this process.
    pub(super) fn encode(self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let Look { resident_bytes, open_files, files_max, memory_limit_bytes } = Look::at_self();
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        #[expect(clippy::cast_precision_loss, reason = "seconds of a process are far from 2^52")]
        let cpu = cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9;
        write(encoder, "process_cpu_seconds", "Processor time used.", &ConstCounter::new(cpu))?;
        let help = "When the process began, in seconds since 1970.";
        write(encoder, "process_start_time_seconds", help, &ConstGauge::new(self.0))?;
        let gauges = [
            ("process_resident_memory_bytes", "Memory that is resident.", resident_bytes),
            ("process_open_fds", "Open file descriptors.", open_files),
            ("process_max_fds", "Most file descriptors that may be open.", files_max),
            (
                "jobcell_memory_limit_bytes",
                "Memory that the process may use: the limit of its control group, or what the machine has.",
                memory_limit_bytes,
            ),
        ];
        for (name, help, value) in gauges {
            if let Some(value) = value {
                write(encoder, name, help, &ConstGauge::new(value))?;
            }
        }
        Ok(())
    }
}

// === impl Look ===

impl Look {
    fn at_self() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let group = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let machine = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        Self {
            resident_bytes: kibibytes(&status, "VmRSS:"),
            open_files: fs::read_dir("/proc/self/fd").ok().map(|files| files.count() as u64),
            files_max: getrlimit(Resource::Nofile).current,
            memory_limit_bytes: group_limit(&group, Path::new("/sys/fs/cgroup"))
                .or_else(|| kibibytes(&machine, "MemTotal:")),
        }
    }
}

/// A line such as `VmRSS:     1234 kB`, in bytes.
fn kibibytes(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The lowest memory limit of the control group and those around it; none where there is none. `/proc/self/cgroup` has a
/// line `0::/path` for the groups of the second version, which are the ones that limits are set on today.
fn group_limit(own: &str, root: &Path) -> Option<u64> {
    let path = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let group = root.join(path);
    let limits = group
        .ancestors()
        .take_while(|group| group.starts_with(root))
        .filter_map(|group| fs::read_to_string(group.join("memory.max")).ok()?.trim().parse::<u64>().ok());
    limits.min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_files_and_a_limit() {
        let look = Look::at_self();
        assert!(look.resident_bytes > Some(1 << 20), "{look:?}");
        assert!(look.open_files > Some(2) && look.files_max >= look.open_files, "{look:?}");
        assert!(look.memory_limit_bytes > look.resident_bytes, "{look:?}");
    }

    #[test]
    fn the_lowest_limit_of_the_groups_around_counts() {
        let root = tempfile::tempdir().unwrap();
        let group = root.path().join("pod/container");
        fs::create_dir_all(&group).unwrap();
        fs::write(root.path().join("pod/memory.max"), "1000\n").unwrap();
        fs::write(group.join("memory.max"), "max\n").unwrap();
        assert_eq!(group_limit("0::/pod/container\n", root.path()), Some(1000));
        fs::write(group.join("memory.max"), "900\n").unwrap();
        assert_eq!(group_limit("1:name=x:/y\n0::/pod/container\n", root.path()), Some(900));
        assert_eq!(group_limit("0::/\n", root.path()), None);
    }

    #[test]
    fn what_has_no_number_is_left_out() {
        assert_eq!(kibibytes("VmRSS:\t  12 kB\n", "VmRSS:"), Some(12288));
        assert_eq!(kibibytes("VmRSS:\t  many kB\n", "VmRSS:"), None);
        assert_eq!(kibibytes("", "VmRSS:"), None);
    }
}
