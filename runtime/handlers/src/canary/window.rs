//! Counts that only grow, of hosts that come and go, made into what happened within a window.

use std::collections::{BTreeMap, VecDeque};

use jobcell_core::Millis;
use jobcell_core::fleet::VersionCounts;

use crate::digest::Digest;

/// Points that are kept of each host and version: a window is seen as exactly as a sixtieth of it.
const POINTS: u64 = 60;
/// Hosts times versions that are followed at most. What is beyond is not looked at, which delays a judgement and
/// distorts none.
const FOLLOWED_MAX: usize = 1_024;

/// What the hosts of a fleet did within the last so many milliseconds.
///
/// Give it every host's counts whenever they are read ([`Window::observe`]). What happened before it first saw a host is
/// not known to it: it begins empty, and a host that decides alone after another one died begins to count anew.
#[derive(Debug)]
pub struct Window {
    window_ms: u64,
    followed: BTreeMap<(Digest, String), Points>,
}

/// What one host said of one version, the oldest first.
#[derive(Debug)]
struct Points {
    points: VecDeque<(Millis, VersionCounts)>,
    /// When it last said something.
    seen_at: Millis,
}

impl Window {
    /// Of this length.
    #[must_use]
    pub fn new(window_ms: u64) -> Self {
        Self { window_ms: window_ms.max(1), followed: BTreeMap::new() }
    }

    /// What this run of a host has counted of a version until now. Times that go back are taken as standing still.
    pub fn observe(&mut self, now: Millis, host: &str, digest: Digest, counts: &VersionCounts) {
        let key = (digest, host.to_owned());
        if !self.followed.contains_key(&key) && self.followed.len() >= FOLLOWED_MAX {
            return;
        }
        let (window_ms, step) = (self.window_ms, self.window_ms / POINTS);
        let Points { points, seen_at } =
            self.followed.entry(key).or_insert_with(|| Points { points: VecDeque::new(), seen_at: now });
        let now = now.max(*seen_at);
        *seen_at = now;
        match points.len() {
            // The newest moves along until it is a step away from the one before: the rest would be noise.
            len if len >= 2 && now.saturating_sub(points[len - 2].0) < step => {
                points[len - 1] = (now, counts.clone());
            }
            _ => points.push_back((now, counts.clone())),
        }
        // One point from before the window stays: from it on is counted.
        while points.len() > 1 && now.saturating_sub(points[1].0) >= window_ms {
            points.pop_front();
        }
        self.followed.retain(|_, points| now.saturating_sub(points.seen_at) <= window_ms);
    }

    /// What became of the version's attempts within the window, on all hosts.
    #[must_use]
    pub fn over(&self, digest: &Digest) -> VersionCounts {
        let mut sum = VersionCounts::default();
        for ((of, _), Points { points, .. }) in &self.followed {
            let (Some((_, first)), Some((_, last))) = (points.front(), points.back()) else { continue };
            if of == digest {
                sum.add(&last.since(first));
            }
        }
        sum
    }
}

#[cfg(test)]
impl Window {
    /// Hosts and versions that are followed, and points kept of them.
    pub(super) fn kept(&self) -> (usize, usize) {
        (self.followed.len(), self.followed.values().map(|Points { points, .. }| points.len()).sum())
    }
}
