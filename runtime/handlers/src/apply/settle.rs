//! What follows of a handler's state from the rest of it: where a rollback leads, and which versions are forgotten.

use crate::desired::{Desired, VERSIONS_MAX};
use crate::digest::Digest;
use crate::version::State;

/// Versions that are tried at most in place of one that cannot be run: each may take a compile before the host is ready.
const STAND_INS_MAX: usize = 3;

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

    /// What a host may run that cannot run the active version, the best first: the version a rollback leads to, then
    /// older ones that some host has admitted.
    pub(crate) fn stand_ins(&self) -> Vec<Digest> {
        let mut found: Vec<Digest> = self.previous.into_iter().collect();
        let mut at = self.active_version();
        for _ in &self.versions {
            at = at.and_then(|version| self.version(version.replaced.as_ref()?));
            let Some(version) = at else { break };
            let is_new = self.active != Some(version.digest) && !found.contains(&version.digest);
            if is_new && version.admitted_at.is_some() && version.state.is_restorable() {
                found.push(version.digest);
            }
        }
        found.truncate(STAND_INS_MAX);
        found
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

#[cfg(test)]
mod tests {
    use crate::apply::apply;
    use crate::desired::{Command, Deployed};
    use crate::manifest::Manifest;
    use crate::wants::Wants;

    use super::*;

    fn digest(n: u8) -> Digest {
        Digest::of(&[n])
    }

    fn activate(desired: &mut Desired, n: u8, is_admitted: bool) {
        let deployed = Deployed {
            digest: digest(n),
            size: 1,
            manifest: Manifest::unsaid("a", None),
            wants: Wants::default(),
            signature: None,
            signed_by: None,
            is_mended: false,
        };
        let admitted = is_admitted.then(|| Command::Admitted { digest: digest(n) });
        let activate = Command::Activate { digest: digest(n), approve: true };
        for command in [Some(Command::Deploy(Box::new(deployed))), admitted, Some(activate)] {
            command.map(|command| apply(desired, command, "t", 1).unwrap());
        }
    }

    #[test]
    fn the_nearest_stand_in_first_then_those_that_some_host_could_run() {
        let mut desired = Desired::default();
        assert_eq!(desired.stand_ins(), []);
        for (n, is_admitted) in [(1, true), (2, true), (3, false), (4, true), (5, false), (6, false)] {
            activate(&mut desired, n, is_admitted);
        }
        assert_eq!(desired.stand_ins(), [digest(5), digest(4), digest(2)]);
        let quarantine = Command::Quarantine { digest: digest(4), why: "it broke jobs".to_owned() };
        apply(&mut desired, quarantine, "t", 1).unwrap();
        assert_eq!(desired.stand_ins(), [digest(5), digest(2), digest(1)]);
    }

    #[test]
    fn versions_that_replaced_each_other_are_walked_once() {
        let mut desired = Desired::default();
        for n in [1, 2, 1, 2] {
            activate(&mut desired, n, true);
        }
        assert_eq!(desired.stand_ins(), [digest(1)]);
    }
}
