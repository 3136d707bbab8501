//! What a change of a handler's versions on this host is called, from where its versions were and where they are.

use std::collections::BTreeSet;

use jobcell_core::event::SwapKind;

use crate::registry::Slots;

/// The versions of one handler by their places, as texts of digests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Places {
    active: Option<String>,
    canary: Option<String>,
    previous: Option<String>,
    /// Those that are kept from jobs.
    barred: BTreeSet<String>,
}

/// What leads from these versions to those; none where no version changed its place among those that get new jobs.
pub(crate) fn kind(now: &Slots, next: &Slots) -> Option<SwapKind> {
    Places::of(now).to(&Places::of(next))
}

// === impl Places ===

impl Places {
    fn of(slots: &Slots) -> Self {
        let digest = |slot: &crate::registry::Slot| slot.loaded.version().map(|digest| digest.to_string());
        Self {
            active: slots.active.as_ref().and_then(digest),
            canary: slots.canary.as_ref().and_then(|(_, slot)| digest(slot)),
            previous: slots.previous.as_ref().and_then(digest),
            barred: slots.barred.clone(),
        }
    }

    fn to(&self, next: &Self) -> Option<SwapKind> {
        let is_barred_now =
            |version: &String| next.barred.contains(version) && !self.barred.contains(version);
        let left = |was: &Option<String>| was.as_ref().is_some_and(is_barred_now);
        if (self.active != next.active && left(&self.active))
            || (self.canary != next.canary && left(&self.canary))
        {
            return Some(SwapKind::Quarantine);
        }
        if self.active == next.active {
            return match (&self.canary, &next.canary) {
                (was, is) if was == is => None,
                (_, Some(_)) => Some(SwapKind::Canary),
                (_, None) => Some(SwapKind::Rollback),
            };
        }
        match &next.active {
            Some(_) if self.active.is_some() && next.active == self.canary => Some(SwapKind::Promote),
            Some(_) if self.active.is_some() && next.active == self.previous => Some(SwapKind::Rollback),
            _ => SwapKind::between(self.active.as_deref(), next.active.as_deref()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(active: &str, canary: &str, previous: &str, barred: &[&str]) -> Places {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Places {
            active: some(active),
            canary: some(canary),
            previous: some(previous),
            barred: barred.iter().map(|digest| (*digest).to_owned()).collect(),
        }
    }

    #[test]
    fn each_change_has_the_name_of_what_an_operator_would_call_it() {
        let cases = [
            (places("", "", "", &[]), places("a", "", "", &[]), Some(SwapKind::Load)),
            (places("a", "", "", &[]), places("b", "", "a", &[]), Some(SwapKind::Change)),
            (places("b", "", "a", &[]), places("a", "", "b", &[]), Some(SwapKind::Rollback)),
            (places("a", "", "", &[]), places("a", "b", "", &[]), Some(SwapKind::Canary)),
            (places("a", "b", "", &[]), places("b", "", "a", &[]), Some(SwapKind::Promote)),
            (places("a", "b", "", &[]), places("a", "", "", &[]), Some(SwapKind::Rollback)),
            (places("a", "b", "", &[]), places("a", "", "", &["b"]), Some(SwapKind::Quarantine)),
            (places("b", "", "a", &[]), places("a", "", "", &["b"]), Some(SwapKind::Quarantine)),
            (places("a", "", "", &[]), places("", "", "", &[]), Some(SwapKind::Remove)),
            (places("a", "", "c", &[]), places("a", "", "", &["c"]), None),
            (places("a", "b", "", &[]), places("a", "b", "c", &[]), None),
        ];
        for (now, next, kind) in cases {
            assert_eq!(now.to(&next), kind, "{now:?} → {next:?}");
        }
    }
}
