//! Slots at equal distances.

use super::Last;
use crate::clock::Millis;

/// Slots at equal distances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Every {
    /// The distance in milliseconds.
    pub every: u64,
    /// How far into each distance, counted from 1970, a slot is.
    pub offset: Option<u64>,
    /// No slot is before.
    pub start: Option<Millis>,
}

impl Every {
    /// The first slot of a rule that is set now. Where it takes the place of one with the same distance, the slots stay
    /// where they were: a scheduler that is set at each start of a program must not run at each start.
    #[must_use]
    pub fn first(self, last: Option<Last>, now: Millis) -> Millis {
        match last {
            Some(Last { slot, every: Some(every), waits }) if every == self.every => {
                if waits {
                    slot
                } else {
                    self.next(slot, now)
                }
            }
            _ => match (self.start, self.offset) {
                (Some(start), _) => start.max(now),
                (None, Some(offset)) if offset > 0 => self.aligned(offset, now),
                (None, _) => now,
            },
        }
    }

    /// The slot after this one; when that has gone by already, the first one to come.
    #[must_use]
    pub fn next(self, slot: Millis, now: Millis) -> Millis {
        let next = slot.saturating_add(self.every);
        if next >= now { next } else { self.aligned(self.offset.unwrap_or(slot % self.every.max(1)), now) }
    }

    /// How far into its distance a slot is, where nobody has chosen that.
    #[must_use]
    pub fn offset_of(self, slot: Millis) -> u64 {
        self.offset.filter(|offset| *offset > 0).unwrap_or(slot % self.every.max(1))
    }

    fn aligned(self, offset: u64, now: Millis) -> Millis {
        let every = self.every.max(1);
        let slot = (now / every * every).saturating_add(offset);
        if slot > now { slot } else { slot.saturating_add(every) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Millis = 1_700_000_000_700;
    const SECOND: Every = Every { every: 1000, offset: None, start: None };

    fn last(slot: Millis, every: u64, waits: bool) -> Option<Last> {
        Some(Last { slot, every: Some(every), waits })
    }

    #[test]
    fn a_new_rule_begins_at_its_start_at_its_offset_or_now() {
        assert_eq!(SECOND.first(None, NOW), NOW);
        assert_eq!(Every { offset: Some(0), ..SECOND }.first(None, NOW), NOW);
        assert_eq!(Every { offset: Some(900), ..SECOND }.first(None, NOW), NOW + 200);
        assert_eq!(Every { offset: Some(700), ..SECOND }.first(None, NOW), NOW + 1000, "strictly later");
        assert_eq!(Every { offset: Some(1500), ..SECOND }.first(None, NOW), NOW + 800);
        let start = |at| Every { start: Some(at), offset: Some(900), ..SECOND }.first(None, NOW);
        assert_eq!((start(NOW + 5), start(NOW - 5)), (NOW + 5, NOW));
    }

    #[test]
    fn a_rule_of_the_same_distance_keeps_its_slots() {
        assert_eq!(SECOND.first(last(NOW + 300, 1000, true), NOW), NOW + 300);
        assert_eq!(SECOND.first(last(NOW - 300, 1000, true), NOW), NOW - 300, "it is late, not forgotten");
        assert_eq!(SECOND.first(last(NOW - 300, 1000, false), NOW), NOW + 700);
        assert_eq!(SECOND.first(last(NOW + 300, 999, true), NOW), NOW, "another distance begins anew");
        assert_eq!(SECOND.first(Some(Last { slot: NOW + 9, every: None, waits: true }), NOW), NOW);
    }

    #[test]
    fn slots_that_went_by_are_left_out() {
        assert_eq!(SECOND.next(NOW - 100, NOW), NOW + 900);
        assert_eq!(SECOND.next(NOW - 1000, NOW), NOW, "due now is not late");
        assert_eq!(SECOND.next(NOW - 5300, NOW), NOW + 700, "in step with where it was");
        assert_eq!(Every { offset: Some(400), ..SECOND }.next(NOW - 5300, NOW), NOW + 700);
        assert_eq!(SECOND.next(NOW + 500, NOW), NOW + 1500, "a slow clock");
        assert_eq!(SECOND.next(Millis::MAX, NOW), Millis::MAX);
    }

    #[test]
    fn the_offset_is_where_the_first_slot_is() {
        assert_eq!((SECOND.offset_of(NOW), Every { offset: Some(3), ..SECOND }.offset_of(NOW)), (700, 3));
    }
}
