//! What a host writes into the desired state of a handler: what it found out about its versions.

use tokio::time::timeout;

use crate::desired::{Command, Desired};
use crate::digest::Digest;
use crate::loader::{Blame, LoadError};
use crate::version::State;

use super::{Follower, PATIENCE};

// === impl Follower ===

impl Follower {
    /// Writes a change of the desired state down. Whoever was faster has said the same or something newer, so a refusal
    /// is no fault. False when the store could not be reached.
    pub(super) async fn tell(&self, command: Command) -> bool {
        let Self { catalog, plan, stage, .. } = self;
        match timeout(PATIENCE, catalog.apply(&plan.name, command, &stage.who, None)).await {
            Ok(Ok(_)) => true,
            Ok(Err(fault)) => {
                tracing::debug!(handler = plan.name, %fault, "the desired state was not changed");
                !fault.is_transient()
            }
            Err(_) => false,
        }
    }

    /// That a host can run them as they are to stay.
    pub(super) async fn tell_admitted(&self, desired: &Desired) -> bool {
        let slots = self.slots();
        let mut told = true;
        for (_, slot) in slots.iter() {
            let Some(digest) = slot.loaded.version().filter(|_| slot.loaded.is_admitted()) else { continue };
            if desired.version(&digest).is_some_and(|version| version.admitted_at.is_none()) {
                told &= self.tell(Command::Admitted { digest }).await;
            }
        }
        told
    }

    /// A fault of the bytes holds on every host.
    pub(super) async fn tell_refused(&self, digest: Digest, desired: &Desired, fault: &LoadError) {
        let is_new = desired.version(&digest).is_some_and(|version| version.admitted_at.is_none());
        if fault.blame() == Blame::Bytes && is_new {
            self.tell(Command::Refuse { digest, why: fault.reason() }).await;
        }
    }

    /// Where nobody else runs it, this host's own versions are all there are.
    pub(super) async fn tell_drained(&self, desired: &Desired) {
        if self.plan.is_shared() {
            return;
        }
        let draining = self.stage.registry.draining(self.name());
        for version in desired.versions.iter().filter(|version| version.state == State::Draining) {
            if !draining.contains(&version.digest) {
                self.tell(Command::Drained { digest: version.digest }).await;
            }
        }
    }
}
