//! Versions at fault: out of their places at once, and quarantined for the whole fleet after.

use crate::desired::{Command, Desired};
use crate::digest::Digest;
use crate::registry::Slot;
use crate::version::State;

use super::Follower;

// === impl Follower ===

impl Follower {
    /// Takes versions out of their places at once that were found to be at fault; writing it down comes after.
    pub(super) fn set_aside_faulty(&mut self) {
        let now = self.slots();
        let found: Vec<(Digest, String)> = now
            .iter()
            .filter_map(|(_, slot)| Some((slot.loaded.version()?, slot.loaded.fault()?)))
            .filter(|(digest, _)| !self.is_faulty(*digest) && !self.told.contains(digest))
            .collect();
        if found.is_empty() {
            return;
        }
        self.faulty.extend(found);
        let is_faulty = |slot: &Slot| slot.loaded.version().is_some_and(|digest| self.is_faulty(digest));
        let mut next = now;
        next.canary = next.canary.filter(|(_, slot)| !is_faulty(slot));
        next.previous = next.previous.filter(|slot| !is_faulty(slot));
        next.pinned.retain(|slot| !is_faulty(slot));
        if next.active.as_ref().is_some_and(is_faulty) && next.previous.is_some() {
            next.active = next.previous.take();
        }
        next.barred.extend(self.faulty.iter().map(|(digest, _)| digest.to_string()));
        self.flip(next);
    }

    /// Writes down which versions are at fault. True when that was done and what is wanted is now something else.
    pub(super) async fn tell_faulty(&mut self, desired: &Desired) -> bool {
        let mut changed = false;
        for (digest, why) in std::mem::take(&mut self.faulty) {
            let is_known = desired.version(&digest).is_none_or(|version| version.state == State::Quarantined);
            if is_known {
                self.told.insert(digest);
                continue;
            }
            if self.tell(Command::Quarantine { digest, why: why.clone() }).await {
                self.told.insert(digest);
                changed = true;
            } else {
                self.faulty.push((digest, why));
            }
        }
        changed
    }
}
