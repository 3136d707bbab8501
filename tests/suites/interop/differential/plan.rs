//! Random plans: what kind of step comes when. A step's details come from a seed of its own, so that leaving out others
//! changes as little of it as possible.

/// A small fast generator (SplitMix64): the same numbers from the same seed, whatever else changes.
#[derive(Debug, Clone)]
pub(super) struct Dice(u64);

/// One step of a plan.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    pub(super) kind: Kind,
    /// When it happens, on the made-up clock, in milliseconds.
    pub(super) now: u64,
    pub(super) seed: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Add,
    AddBulk,
    AddChild,
    AddDeduplicated,
    Flow,
    Claim,
    Finish,
    FinishBatch,
    Renew,
    Stall,
    Expire,
    Progress,
    Log,
    Data,
    Pause,
    Resume,
    Promote,
    Retry,
    Remove,
    RemoveTree,
    Prune,
    Leave,
    Drain,
    Clean,
    Delay,
    Priority,
    PromoteAll,
    RetryAll,
    Obliterate,
    Concurrency,
    Rate,
    Rest,
    Release,
    Schedule,
    Unschedule,
    Look,
}

/// When plans begin: some day in November 2023, no minute's start.
pub(super) const START: u64 = 1_700_000_012_345;

/// What an episode is about. In each, jobs are added, taken and ended all the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Theme {
    Work,
    Limits,
    Families,
    Schedules,
    Operators,
}

// === impl Theme ===

impl Theme {
    pub(super) const ALL: [Self; 5] =
        [Self::Work, Self::Limits, Self::Families, Self::Schedules, Self::Operators];

    fn weights(self) -> &'static [(Kind, u64)] {
        use Kind::*;
        match self {
            Self::Work => &[
                (Add, 30),
                (AddBulk, 6),
                (AddDeduplicated, 14),
                (Claim, 30),
                (Finish, 30),
                (FinishBatch, 12),
                (Renew, 3),
                (Stall, 4),
                (Expire, 5),
                (Progress, 3),
                (Log, 3),
                (Data, 2),
                (Pause, 1),
                (Resume, 1),
                (Promote, 3),
                (Retry, 5),
                (Remove, 2),
                (RemoveTree, 1),
                (Look, 5),
            ],
            Self::Limits => &[
                (Add, 30),
                (AddBulk, 6),
                (Claim, 40),
                (Finish, 30),
                (FinishBatch, 10),
                (Stall, 3),
                (Expire, 10),
                (Pause, 2),
                (Resume, 2),
                (Concurrency, 5),
                (Rate, 5),
                (Rest, 4),
                (Look, 6),
                (Retry, 3),
                (Promote, 2),
            ],
            Self::Families => &[
                (Add, 10),
                (AddChild, 15),
                (Flow, 12),
                (Claim, 45),
                (Finish, 40),
                (FinishBatch, 15),
                (Stall, 2),
                (Expire, 3),
                (Retry, 6),
                (Remove, 3),
                (RemoveTree, 3),
                (Prune, 2),
                (Leave, 3),
                (Drain, 1),
                (Clean, 2),
                (Promote, 2),
                (Pause, 1),
                (Resume, 1),
                (Look, 6),
            ],
            Self::Schedules => &[
                (Add, 8),
                (Claim, 40),
                (Finish, 30),
                (FinishBatch, 8),
                (Schedule, 14),
                (Unschedule, 3),
                (Stall, 3),
                (Expire, 4),
                (Promote, 4),
                (Retry, 4),
                (Remove, 4),
                (Drain, 1),
                (Clean, 2),
                (Pause, 1),
                (Resume, 1),
                (Look, 6),
            ],
            Self::Operators => &[
                (Add, 30),
                (AddBulk, 10),
                (AddDeduplicated, 5),
                (Flow, 2),
                (Claim, 25),
                (Finish, 25),
                (FinishBatch, 10),
                (Pause, 3),
                (Resume, 3),
                (Promote, 4),
                (Retry, 5),
                (Remove, 4),
                (RemoveTree, 3),
                (Drain, 1),
                (Clean, 5),
                (Delay, 6),
                (Priority, 8),
                (PromoteAll, 2),
                (RetryAll, 3),
                (Obliterate, 1),
                (Release, 2),
                (Schedule, 2),
                (Look, 6),
                (Stall, 2),
                (Expire, 3),
            ],
        }
    }
}

/// A plan of this many steps.
pub(super) fn plan(theme: Theme, seed: u64, steps: usize) -> Vec<Step> {
    let mut dice = Dice::new(seed);
    let mut now = START;
    let step = |_| {
        now += match dice.below(100) {
            0..50 => 0,
            50..80 => 1 + dice.below(30),
            80..95 => 100 + dice.below(1_000),
            95..99 => 30_000 + dice.below(60_000),
            _ => 3_600_000,
        };
        Step { kind: dice.weighted(theme.weights()), now, seed: dice.next() }
    };
    (0..steps).map(step).collect()
}

// === impl Dice ===

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }

    pub(super) fn percent(&mut self, n: u64) -> bool {
        self.below(100) < n
    }

    /// One of these, when there is one.
    pub(super) fn one<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        if of.is_empty() { None } else { of.get(self.below(of.len() as u64) as usize) }
    }

    /// One of these, which are some.
    pub(super) fn of<T: Copy, const N: usize>(&mut self, of: [T; N]) -> T {
        of[self.below(N as u64) as usize]
    }

    fn weighted(&mut self, of: &[(Kind, u64)]) -> Kind {
        let mut at = self.below(of.iter().map(|(_, weight)| weight).sum());
        for (kind, weight) in of {
            match at.checked_sub(*weight) {
                None => return *kind,
                Some(rest) => at = rest,
            }
        }
        of[0].0
    }
}
