//! What follows of a handler's state from the rest of it: where a rollback leads, and which versions are forgotten.

use crate::desired::{Desired, VERSIONS_MAX};
use crate::digest::Digest;
use crate::version::State;

// === impl Desired ===

impl Desired {
    /// The nearest version before this one that can take the jobs: what was active before it, or before that. One step
    /// for each version at most: versions that were activated in turns replaced each other.
    pub(super) fn before(&self, digest: &Digest) -> Option<Digest> {
        let mut at = self.version(digest)?;
        for _ in &self.versions {
            at = self.version(at.replaced.as_ref()?)?;
            if at.digest != *digest && at.state.is_restorable() {
                return Some(at.digest);
            }
        }
        None
    }

    /// Brings what follows from the rest in order.
    pub(super) fn settle(&mut self) {
        self.previous = self.active.and_then(|active| self.before(&active));
        let versions = &self.versions;
        self.shadow.take_if(|shadow| {
            let version = versions.iter().find(|version| version.digest == shadow.digest);
            !version.is_some_and(|version| can_shadow(version.state))
        });
        while self.versions.len() > VERSIONS_MAX && self.forget_one() {}
    }

    /// Forgets the version that is needed least: the oldest of those that are over, before the oldest that wait. The
    /// newest stays: it is the one that was just deployed.
    fn forget_one(&mut self) -> bool {
        let ready: Vec<Digest> = self.ready().collect();
        let rank = |state: State| match state {
            State::Retired | State::Refused => 0,
            State::Staged | State::Admitted => 1,
            State::Quarantined => 2,
            State::Draining | State::Active | State::Canary => 3,
        };
        let candidates = self.versions.iter().enumerate().skip(1);
        let candidates = candidates.filter(|(_, version)| !ready.contains(&version.digest));
        let least = candidates.min_by_key(|(at, version)| (rank(version.state), std::cmp::Reverse(*at)));
        let Some((at, _)) = least else { return false };
        self.versions.remove(at);
        true
    }
}

/// Whether a version in this state may run as a shadow: it takes no jobs, and may take some.
pub(super) fn can_shadow(state: State) -> bool {
    match state {
        State::Staged | State::Admitted | State::Draining | State::Retired => true,
        State::Active | State::Canary | State::Refused | State::Quarantined => false,
    }
}
