//! What a host loads beside what takes jobs: the version before, those that retries wait for, and the next one.

use std::sync::Arc;

use crate::desired::{Command, Desired};
use crate::digest::Digest;
use crate::loaded::Loaded;
use crate::loader::{Blame, Haste, LoadError};
use crate::registry::{Slot, Slots};
use crate::version::State;

use super::{Follower, PINNED_IDLE, PINNED_MAX};

// === impl Follower ===

impl Follower {
    /// Has the shadow run that is wanted, on copies of what the active version runs, or none.
    pub(super) async fn tap(&mut self, desired: &Desired) {
        let Some(taps) = self.stage.taps.get().cloned() else { return };
        let wanted = desired.shadow.as_ref().map(|shadow| (shadow.digest, shadow.percent, shadow.since));
        if !self.tapped.shadows(wanted) {
            let mut running = None;
            if let Some(key) = wanted {
                match self.make(key.0, desired, Haste::Later).await {
                    Ok(candidate) => {
                        // With counts of its own: what copies do says nothing about a version that takes jobs.
                        let candidate = Loaded::new(candidate, key.0, Arc::default(), 0, Arc::default());
                        running = taps.shadows.of(candidate, key.1, key.2).map(|shadow| (key, shadow));
                    }
                    Err(fault) => {
                        tracing::warn!(handler = self.name(), %fault, "the shadow does not run");
                        self.tell_refused(key.0, desired, &fault).await;
                    }
                }
            }
            self.tapped.set_shadow(running);
        }
        let mut next = self.slots();
        self.place_taps(&mut next);
        self.flip(next);
    }

    pub(super) fn place_taps(&mut self, slots: &mut Slots) {
        if let Some(taps) = self.stage.taps.get() {
            self.tapped.place(slots, taps, self.plan.record);
        }
    }

    /// Keeps the version ready that a rollback leads to.
    pub(super) async fn warm_previous(&mut self, desired: &Desired) {
        let Some(previous) = self.fallback(desired) else { return };
        let slots = self.slots();
        // It may run in place of one that this host cannot load.
        let is_active = slots.active.as_ref().is_none_or(|slot| slot.loaded.is(previous));
        if slots.previous.is_some() || is_active || self.cold.contains(&previous) {
            return;
        }
        match self.have_or_load_aside(previous, desired).await {
            Ok(slot) => {
                let mut next = self.slots();
                next.previous = Some(slot);
                self.flip(next);
            }
            Err(fault) => {
                if fault.blame() != Blame::Passing {
                    self.cold.insert(previous);
                }
                tracing::warn!(handler = self.name(), %fault, "the version before cannot be kept ready; a rollback will take longer");
            }
        }
    }

    pub(super) async fn have_or_load_aside(
        &mut self,
        digest: Digest,
        desired: &Desired,
    ) -> Result<Slot, LoadError> {
        match self.have(digest) {
            Some(slot) => Ok(slot),
            None => self.load(digest, desired, Haste::Later).await.map(Slot::plain),
        }
    }

    /// Loads what retries wait for, and drops what none has needed for long.
    pub(super) async fn load_pins(&mut self, desired: &Desired) {
        let mut next = self.slots();
        next.pinned.retain(|slot| {
            let digest = slot.loaded.version();
            let elsewhere =
                [&next.active, &next.previous].into_iter().flatten().any(|s| s.loaded.version() == digest);
            !elsewhere && slot.loaded.idle() < PINNED_IDLE
        });
        for asked in self.stage.registry.take_pins(self.name()) {
            let known = asked.parse().ok().filter(|digest| desired.version(digest).is_some());
            let slot = match known {
                Some(digest) => {
                    self.have_or_load_aside(digest, desired).await.map_err(|fault| fault.to_string())
                }
                None => Err("it is not kept any more".to_owned()),
            };
            match slot {
                Ok(slot) => {
                    slot.loaded.touch();
                    next.pinned.push(slot);
                }
                Err(fault) => {
                    tracing::warn!(
                        handler = self.name(),
                        version = asked,
                        fault,
                        "a retry cannot run on the version of its last attempt; it runs on the active one"
                    );
                    self.missing.insert(asked);
                }
            }
        }
        while next.pinned.len() > PINNED_MAX {
            let idlest = (0..next.pinned.len()).max_by_key(|at| next.pinned[*at].loaded.idle());
            idlest.map(|at| next.pinned.remove(at));
        }
        next.barred = self.barred(desired);
        self.flip(next);
    }

    /// Admits and compiles a version that is only handed in, so that making it active takes no time and its faults are
    /// known before: one a turn, the newest first. False when one is to be tried again.
    pub(super) async fn load_ahead(&mut self, desired: &Desired) -> bool {
        let untried = desired.versions.iter().filter(|version| {
            matches!(version.state, State::Staged | State::Admitted) && !self.tried.contains(&version.digest)
        });
        let untried: Vec<Digest> = untried.map(|version| version.digest).collect();
        let mut passing = false;
        for (at, digest) in untried.iter().enumerate() {
            let loaded = self.load(*digest, desired, Haste::Later).await;
            if let Err(fault) = &loaded {
                tracing::warn!(handler = self.name(), %fault, "a version that is not active yet cannot be loaded here");
                if fault.blame() == Blame::Passing {
                    passing = true;
                    continue;
                }
            }
            // Only now: a turn that was overtaken meanwhile has tried nothing.
            self.tried.insert(*digest);
            if at + 1 < untried.len() {
                self.news.notify_one();
            }
            match loaded {
                Ok(_) => {
                    if desired.version(digest).is_some_and(|version| version.admitted_at.is_none()) {
                        self.tell(Command::Admitted { digest: *digest }).await;
                    }
                }
                Err(fault) => self.tell_refused(*digest, desired, &fault).await,
            }
            break;
        }
        !passing
    }
}
