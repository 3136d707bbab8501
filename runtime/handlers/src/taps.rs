//! What a host's versions are recorded for: a shadow beside the active one, and attempts that are kept to be run again.

use std::collections::HashMap;
use std::sync::Arc;

use jobcell_core::recordings::{Record, Recordings};
use jobcell_core::shadow::{Shadow, Shadows};
use jobcell_core::tap::Tap;
use jobcell_core::{Clock, Millis, Runner};

use crate::digest::Digest;
use crate::registry::{Slot, Slots};

/// What attempts of a host are recorded for. Cheap to clone.
#[derive(Clone)]
pub struct Taps {
    /// The shadows of the host.
    pub shadows: Shadows,
    /// Where attempts are kept.
    pub recordings: Recordings,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// Bytes that nobody can guess.
    pub entropy: fn() -> [u8; 32],
}

/// Which shadow it is: the candidate, the share of jobs in a hundred, and since when.
pub(crate) type ShadowKey = (Digest, u8, Millis);

/// The recorders before the versions of one handler. One that is in place stays while what it is for stays, so that
/// looking again changes nothing.
#[derive(Default)]
pub(crate) struct Tapped {
    shadow: Option<(ShadowKey, Shadow)>,
    made: HashMap<Digest, (Option<ShadowKey>, Slot)>,
}

// === impl Tapped ===

impl Tapped {
    /// Whether this is the shadow that runs.
    pub(crate) fn shadows(&self, key: Option<ShadowKey>) -> bool {
        self.shadow.as_ref().map(|(key, _)| *key) == key
    }

    /// Has this shadow run from now on, or none.
    pub(crate) fn set_shadow(&mut self, shadow: Option<(ShadowKey, Shadow)>) {
        self.shadow = shadow;
    }

    /// The same versions with what records them before those that take jobs.
    pub(crate) fn place(&mut self, slots: &mut Slots, taps: &Taps, record: Record) {
        let before = std::mem::take(&mut self.made);
        let mut place = |slot: &mut Slot, shadow: Option<&(ShadowKey, Shadow)>| {
            let Some(digest) = slot.loaded.version() else { return };
            let key = shadow.map(|(key, _)| *key);
            let made = before
                .get(&digest)
                .filter(|(of, made)| *of == key && Arc::ptr_eq(&made.loaded, &slot.loaded));
            let made = match made {
                Some((_, made)) => made.clone(),
                None => {
                    let plain = Arc::clone(&slot.loaded) as Arc<dyn Runner>;
                    let tap = Tap::new(plain, Arc::clone(&taps.clock), taps.entropy);
                    let shadow = shadow.map(|(_, shadow)| shadow.clone());
                    let runner = tap.shadow(shadow).keep(record, &taps.recordings).done();
                    Slot { runner, loaded: Arc::clone(&slot.loaded) }
                }
            };
            *slot = made.clone();
            self.made.insert(digest, (key, made));
        };
        if let Some(slot) = &mut slots.active {
            place(slot, self.shadow.as_ref());
        }
        let others = slots.canary.iter_mut().map(|(_, slot)| slot);
        let others = others.chain(slots.previous.iter_mut()).chain(slots.pinned.iter_mut());
        others.for_each(|slot| place(slot, None));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use async_trait::async_trait;
    use jobcell_core::documents::MemoryDocuments;
    use jobcell_core::shadow::ShadowBounds;
    use jobcell_core::{Attempt, Outcome, Receipt, Report, SystemClock};

    use super::*;
    use crate::loaded::Loaded;
    use crate::loader::Made;

    struct Idle(bool);

    #[async_trait]
    impl Runner for Idle {
        fn handler(&self) -> &str {
            "idle"
        }
        fn version(&self) -> &str {
            "0"
        }
        fn deadline(&self) -> Duration {
            Duration::from_secs(1)
        }
        fn plays(&self) -> bool {
            self.0
        }
        async fn run(&self, _: Attempt) -> Report {
            Report { outcome: Outcome::Requeue, receipt: Receipt::default() }
        }
    }

    fn taps() -> Taps {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        Taps {
            shadows: Shadows::new(ShadowBounds::default(), Arc::clone(&clock), || ()),
            recordings: Recordings::new(Arc::new(MemoryDocuments::default())),
            clock,
            entropy: || [0; 32],
        }
    }

    fn slot(text: &str, plays: bool) -> Slot {
        Slot::plain(Loaded::new(
            Made::whole(Arc::new(Idle(plays))),
            Digest::of(text.as_bytes()),
            Arc::default(),
            0,
            Arc::default(),
        ))
    }

    fn is_plain(slot: &Slot) -> bool {
        std::ptr::addr_eq(Arc::as_ptr(&slot.runner), Arc::as_ptr(&slot.loaded))
    }

    #[test]
    fn what_nobody_wants_to_see_is_left_as_it_is() {
        let (taps, mut tapped) = (taps(), Tapped::default());
        let mut slots =
            Slots { active: Some(slot("1", true)), previous: Some(slot("2", true)), ..Slots::default() };
        tapped.place(&mut slots, &taps, Record::Off);
        assert!(slots.iter().all(|(_, slot)| is_plain(slot)));
    }

    #[test]
    fn recorders_stay_while_what_they_are_for_stays() {
        let (taps, mut tapped) = (taps(), Tapped::default());
        let mut slots =
            Slots { active: Some(slot("1", true)), pinned: vec![slot("2", false)], ..Slots::default() };
        tapped.place(&mut slots, &taps, Record::Failed);
        let first = slots.active.clone().unwrap();
        assert!(!is_plain(&first) && is_plain(&slots.pinned[0]), "one does not record");
        tapped.place(&mut slots, &taps, Record::Failed);
        assert!(Arc::ptr_eq(&slots.active.as_ref().unwrap().runner, &first.runner));
    }

    #[test]
    fn a_shadow_stands_beside_the_active_version_only_and_goes_whole() {
        let (taps, mut tapped) = (taps(), Tapped::default());
        let key = (Digest::of(b"candidate"), 50, 7);
        let shadow = taps.shadows.of(Arc::new(Idle(true)), key.1, key.2).unwrap();
        tapped.set_shadow(Some((key, shadow)));
        assert!(tapped.shadows(Some(key)) && !tapped.shadows(None));
        let mut slots =
            Slots { active: Some(slot("1", true)), previous: Some(slot("2", true)), ..Slots::default() };
        tapped.place(&mut slots, &taps, Record::Off);
        assert!(!is_plain(slots.active.as_ref().unwrap()) && is_plain(slots.previous.as_ref().unwrap()));
        // It becomes the one before: nothing of it is copied any more.
        std::mem::swap(&mut slots.active, &mut slots.previous);
        tapped.place(&mut slots, &taps, Record::Off);
        assert!(!is_plain(slots.active.as_ref().unwrap()) && is_plain(slots.previous.as_ref().unwrap()));
        tapped.set_shadow(None);
        tapped.place(&mut slots, &taps, Record::Off);
        assert!(slots.iter().all(|(_, slot)| is_plain(slot)));
        assert!(taps.shadows.report("idle").is_none(), "nobody holds it any more");
    }
}
