//! From a version that is wanted to one that takes jobs: verify, admit, compile, link, warm, and what runs where that fails.

use std::sync::Arc;

use crate::artifact::Artifact;
use crate::catalog::CatalogError;
use crate::desired::Desired;
use crate::digest::Digest;
use crate::loaded::Loaded;
use crate::loader::{Blame, Haste, LoadError, Made};
use crate::manifest::section;
use crate::registry::{Slot, Slots};
use crate::trust::{Signature, Trust};
use crate::version::State;

use super::{Follower, instead};

/// Whether a version is loaded though it is in memory: what is there was loaded under another configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Anew {
    Yes,
    No,
    /// It is not, though all is looked at under this configuration for the first time.
    First,
}

// === impl Follower ===

impl Follower {
    /// Remembers what the loader found out too late about versions in place, and keeps none of them for later. What it said
    /// under another configuration says nothing any more.
    fn drop_refused(&mut self, slots: &mut Slots) {
        for (_, slot) in slots.iter() {
            let found = slot.loaded.version().zip(slot.loaded.refused());
            if let Some((digest, fault)) = found.filter(|_| !self.is_stale(&slot.loaded)) {
                self.refused.insert(digest, fault.reason());
            }
        }
        slots.previous.take_if(|slot| slot.loaded.refused().is_some());
        slots.pinned.retain(|slot| slot.loaded.refused().is_none());
    }

    /// Whether it was loaded under another configuration.
    fn is_stale(&self, loaded: &Arc<Loaded>) -> bool {
        self.stale.iter().any(|stale| stale.as_ptr() == Arc::as_ptr(loaded))
    }

    /// How soon this version is wanted of a host that starts or has another configuration. As it is to stay: what cannot
    /// be, is told before anything runs or changes. But nothing is held against the very one that runs in doubt already.
    pub(crate) fn haste(&self, digest: Digest) -> Haste {
        let is_in_doubt = |slot: Slot| slot.loaded.is(digest) && !slot.loaded.is_admitted();
        if self.slots().active.is_some_and(is_in_doubt) { Haste::Now } else { Haste::Later }
    }

    /// Loads what is wanted and puts it in place, each as soon as it is ready.
    pub(super) async fn load_wanted(&mut self, desired: &Desired) -> Result<(), LoadError> {
        let mut fault = None;
        let mut next = self.slots();
        self.drop_refused(&mut next);
        next.same_version = self.plan.same_version;
        next.barred = self.barred(desired);
        let has_looked = self.has_looked;
        self.has_looked |= desired.active.is_none();
        if let Some(active) = self.trusted(desired.active, desired.previous) {
            // Wanted before, it was refused, or is as good as what runs: only what is new is wanted at once.
            let haste = if has_looked { Haste::Now } else { self.haste(active) };
            let found = self.have_or_load(active, desired, haste).await;
            self.has_looked |= found.as_ref().map_or_else(|fault| fault.blame() != Blame::Passing, |_| true);
            match found {
                Ok(slot) => {
                    let before = next.active.replace(slot);
                    next.previous = self.previous_of(desired, before.as_ref());
                }
                Err(refused) => {
                    let is_bad =
                        |slot: &Slot| slot.loaded.refused().is_some() || is_kept_from_jobs(slot, desired);
                    if next.active.as_ref().is_none_or(is_bad)
                        && let Some(slot) = self
                            .stand_in(
                                active,
                                desired,
                                &refused,
                                if has_looked { Anew::No } else { Anew::First },
                            )
                            .await
                    {
                        next.previous = next.previous.filter(|previous| !previous.loaded.same(&slot.loaded));
                        next.active = Some(slot);
                    }
                    fault = Some(refused);
                }
            }
        }
        // A canary that is there already goes into the same flip: a promotion must not drop it in between.
        let canary = desired.canary.clone().filter(|canary| !self.is_faulty(canary.digest));
        next.canary = canary.as_ref().and_then(|canary| Some((canary.clone(), self.have(canary.digest)?)));
        let is_canary_missing = canary.is_some() && next.canary.is_none();
        self.place_taps(&mut next);
        self.flip(next);
        if let Some(canary) = canary.filter(|_| is_canary_missing) {
            match self.have_or_load(canary.digest, desired, Haste::Later).await {
                Ok(slot) => {
                    let mut next = self.slots();
                    next.canary = Some((canary, slot));
                    self.place_taps(&mut next);
                    self.flip(next);
                }
                Err(refused) => {
                    fault.get_or_insert(refused);
                }
            }
        }
        fault.map_or(Ok(()), Err)
    }

    /// The version that is wanted, but for one that is at fault while its quarantine is not written down yet.
    fn trusted(&self, active: Option<Digest>, previous: Option<Digest>) -> Option<Digest> {
        active.filter(|digest| !self.is_faulty(*digest)).or_else(|| active.and(previous))
    }

    pub(super) fn is_faulty(&self, digest: Digest) -> bool {
        self.faulty.iter().any(|(faulty, _)| *faulty == digest)
    }

    fn previous_of(&self, desired: &Desired, before: Option<&Slot>) -> Option<Slot> {
        let previous = self.fallback(desired)?;
        let before = before.filter(|slot| slot.loaded.is(previous) && slot.loaded.refused().is_none());
        before.cloned().or_else(|| self.have(previous))
    }

    /// The version that a rollback leads to; where this host refuses that one, the next that could stand in for it.
    pub(super) fn fallback(&self, desired: &Desired) -> Option<Digest> {
        desired.previous?;
        let is_usable = |digest: &Digest| !self.refused.contains_key(digest) && !self.is_faulty(*digest);
        desired.stand_ins().into_iter().find(is_usable)
    }

    /// The version if it is in memory and sound.
    pub(super) fn have(&self, digest: Digest) -> Option<Slot> {
        let name = self.name();
        let in_place = self.slots().find(digest).cloned();
        let still_there = || self.stage.registry.still_there(name, digest).map(Slot::plain);
        let is_sound = |slot: &Slot| {
            let loaded = &slot.loaded;
            loaded.fault().is_none() && loaded.refused().is_none() && !self.is_stale(loaded)
        };
        in_place.filter(is_sound).or_else(|| still_there().filter(is_sound))
    }

    async fn have_or_load(
        &mut self,
        digest: Digest,
        desired: &Desired,
        haste: Haste,
    ) -> Result<Slot, LoadError> {
        if let Some(slot) = self.have(digest) {
            self.unable.remove(&digest);
            return Ok(slot);
        }
        let loaded = self.load(digest, desired, haste).await;
        match &loaded {
            Ok(_) => _ = self.unable.remove(&digest),
            Err(fault) => {
                if fault.blame() != Blame::Passing {
                    self.unable.insert(digest);
                }
                if fault.blame() == Blame::Bytes {
                    // Said here: once it is refused something else is wanted, and this turn ends.
                    let (handler, version) = (self.name(), digest.short());
                    tracing::error!(handler, version, %fault, "no host can run the version; what runs goes on");
                }
                self.tell_refused(digest, desired, fault).await;
            }
        }
        loaded.map(Slot::plain)
    }

    /// A version that this host can run in place of the active one: better than none. The lag says so. None when the
    /// fault may pass, when the version that is wanted runs here already (it must not be lost to a change of the
    /// configuration; to what was found out about it, it may), and when none of the others can be run either.
    pub(super) async fn stand_in(
        &mut self,
        active: Digest,
        desired: &Desired,
        fault: &LoadError,
        anew: Anew,
    ) -> Option<Slot> {
        let runs = self.slots().active.map(|slot| slot.loaded);
        let is_as_wanted = runs.is_some_and(|loaded| loaded.is(active) && loaded.refused().is_none());
        if fault.blame() == Blame::Passing || is_as_wanted {
            return None;
        }
        // Where something runs, or did not before, jobs can wait until it is known whether the other can be as it is to stay.
        let is_waited_for = anew == Anew::No && self.slots().active.is_none();
        for digest in desired.stand_ins() {
            if self.is_faulty(digest) {
                continue;
            }
            let found = match self.have(digest).filter(|_| anew != Anew::Yes) {
                Some(slot) => Ok(slot),
                None => {
                    let haste = if is_waited_for { Haste::Now } else { self.haste(digest) };
                    self.load(digest, desired, haste).await.map(Slot::plain)
                }
            };
            match found {
                Ok(slot) => {
                    let lag = instead(digest, active, fault);
                    if self.stage.board.set_lag(self.name(), Some(lag)) {
                        let (runs, wanted) = (digest.short(), active.short());
                        tracing::error!(
                            handler = self.name(), %fault, runs, wanted,
                            "the version that is wanted cannot be run on this host; an older one takes its jobs"
                        );
                    }
                    return Some(slot);
                }
                Err(fault) => {
                    let version = digest.short();
                    tracing::warn!(handler = self.name(), %fault, version, "it cannot stand in either");
                }
            }
        }
        None
    }

    pub(super) fn refusal(&self, reason: String, blame: Blame) -> LoadError {
        LoadError::Refused { handler: self.plan.name.clone(), reason, blame }
    }

    /// Verify → admit → compile → link → warm.
    pub(super) async fn load(
        &mut self,
        digest: Digest,
        desired: &Desired,
        haste: Haste,
    ) -> Result<Arc<Loaded>, LoadError> {
        if let Some(reason) = self.refused.get(&digest) {
            return Err(self.refusal(reason.clone(), Blame::Host));
        }
        let made = self.make(digest, desired, haste).await?;
        Ok(self.loaded(made, digest))
    }

    pub(super) async fn make(
        &mut self,
        digest: Digest,
        desired: &Desired,
        haste: Haste,
    ) -> Result<Made, LoadError> {
        let name = self.plan.name.clone();
        self.stage.board.set_loading(&name, Some(digest));
        let artifact = self.catalog.artifact(&digest).await.map_err(|fault| self.of_catalog(&fault))?;
        let signature = desired.version(&digest).and_then(|version| version.signature.as_ref());
        let verified = verify(self.catalog.trust(), &name, &artifact, signature);
        verified.map_err(|reason| self.refusal(reason, Blame::Host))?;
        match self.loader.load(&name, artifact, haste).await {
            Ok(made) => Ok(made),
            Err(fault) => {
                if fault.blame() != Blame::Passing {
                    self.refused.insert(digest, fault.reason());
                }
                Err(fault)
            }
        }
    }

    /// A version as it is put into place.
    pub(crate) fn loaded(&mut self, made: Made, digest: Digest) -> Arc<Loaded> {
        self.told.remove(&digest);
        let tally = self.stage.board.tally(&self.plan.name, digest);
        Loaded::new(made, digest, tally, self.plan.quarantine, Arc::clone(&self.news))
    }

    fn of_catalog(&self, fault: &CatalogError) -> LoadError {
        let blame = if fault.is_transient() { Blame::Passing } else { Blame::Host };
        self.refusal(fault.to_string(), blame)
    }
}

/// Whether the version is known to be at fault.
pub(super) fn is_kept_from_jobs(slot: &Slot, desired: &Desired) -> bool {
    let version = slot.loaded.version().and_then(|digest| desired.version(&digest));
    version.is_some_and(|version| matches!(version.state, State::Quarantined | State::Refused))
}

/// Whether this host may believe the artifact.
///
/// # Errors
/// Why not, with the fix.
pub(crate) fn verify(
    trust: &Trust,
    handler: &str,
    artifact: &Artifact,
    signature: Option<&Signature>,
) -> Result<(), String> {
    // What is no component at all, admission refuses in better words; it bears no signature that fits.
    let section = section(&artifact.bytes).ok().flatten().unwrap_or_default();
    let verified = trust.verify(handler, &artifact.digest, section, signature);
    verified.map(drop).map_err(|fault| fault.to_string())
}
