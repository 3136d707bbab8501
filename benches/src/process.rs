//! What a process and its children use, as Linux tells it.

use std::fs;

/// Ticks of `/proc/*/stat` in a second: fixed at 100 for programs since Linux 2.6.
const TICKS: f64 = 100.0;

/// Seconds of processor time of the process and everything below it that still runs.
pub(crate) fn cpu_secs(pid: u32) -> f64 {
    tree(pid).iter().filter_map(|pid| ticks(*pid)).sum::<f64>() / TICKS
}

/// Resident memory in KiB of the process and everything below it.
pub(crate) fn rss_kib(pid: u32) -> u64 {
    tree(pid).iter().filter_map(|pid| status(*pid, "VmRSS:")).sum()
}

/// How many processes that is.
pub(crate) fn count(pid: u32) -> usize {
    tree(pid).len()
}

fn tree(root: u32) -> Vec<u32> {
    let parents: Vec<(u32, u32)> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid: u32| Some((pid, u32::try_from(status(pid, "PPid:")?).ok()?)))
        .collect();
    let mut found = vec![root];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        found.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
        next += 1;
    }
    found
}

fn status(pid: u32, key: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()?.parse().ok()
}

fn ticks(pid: u32) -> Option<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold spaces; user and system time are the 12th and 13th fields after it.
    let mut fields = text.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some(user + system)
}
