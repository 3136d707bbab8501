//! What an attempt has used: the budgets that hold over all its calls together, and what its receipt says of them.

use jobcell_core::receipt::{HostCall, HostCalls, Near};

use crate::limits::Limits;
use crate::world::jobcell::job::types::Error;

/// A limit on the sum of what all calls of an attempt use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Budget {
    /// Jobs enqueued.
    Enqueued,
    /// Messages published.
    Published,
    /// Keys written, cache and key-value stores together.
    CacheKeys,
    /// Bytes of the values written there.
    CacheBytes,
    /// Bytes of blobs, read and written.
    Blobs,
}

/// What one attempt has used so far.
#[derive(Debug, Default)]
pub(crate) struct Usage {
    calls: HostCalls,
    spent: [u64; Budget::ALL.len()],
    /// Limits that refused something.
    refused: Vec<Near>,
}

// === impl Budget ===

impl Budget {
    const ALL: [Self; 5] = [Self::Enqueued, Self::Published, Self::CacheKeys, Self::CacheBytes, Self::Blobs];

    /// The key in the configuration.
    fn key(self) -> &'static str {
        match self {
            Self::Enqueued => "enqueued",
            Self::Published => "published",
            Self::CacheKeys => "cache-keys",
            Self::CacheBytes => "cache-bytes",
            Self::Blobs => "blobs",
        }
    }

    /// What is counted, in words.
    fn what(self) -> &'static str {
        match self {
            Self::Enqueued => "enqueued jobs",
            Self::Published => "messages",
            Self::CacheKeys => "keys written",
            Self::CacheBytes => "bytes of values written",
            Self::Blobs => "bytes of blobs",
        }
    }

    fn of(self, limits: &Limits) -> u64 {
        match self {
            Self::Enqueued => limits.enqueued.into(),
            Self::Published => limits.published.into(),
            Self::CacheKeys => limits.cache_keys.into(),
            Self::CacheBytes => limits.cache_bytes,
            Self::Blobs => limits.blobs,
        }
    }
}

// === impl Usage ===

impl Usage {
    pub(crate) fn called(&mut self, kind: HostCall) {
        self.calls.count(kind);
    }

    pub(crate) fn calls(&self) -> HostCalls {
        self.calls
    }

    /// Takes so much from a budget.
    ///
    /// # Errors
    /// [`Error::Quota`] when so much is not left; nothing is taken then.
    pub(crate) fn spend(&mut self, budget: Budget, amount: u64, limits: &Limits) -> Result<(), Error> {
        let (spent, of) = (&mut self.spent[budget as usize], budget.of(limits));
        let wanted = spent.saturating_add(amount);
        if wanted <= of {
            *spent = wanted;
            return Ok(());
        }
        let (key, what) = (budget.key(), budget.what());
        self.refuse(key, wanted, of);
        Err(Error::Quota(format!("the limit of {of} {what} an attempt is used up (limits.{key})")))
    }

    /// What is left of a budget.
    pub(crate) fn left(&self, budget: Budget, limits: &Limits) -> u64 {
        budget.of(limits).saturating_sub(self.spent[budget as usize])
    }

    /// Notes that a limit refused something.
    pub(crate) fn refuse(&mut self, key: &'static str, wanted: u64, of: u64) {
        Near::keep(&mut self.refused, Near { name: key.into(), used: wanted, of });
    }

    /// What was refused.
    pub(crate) fn refused(&self) -> &[Near] {
        &self.refused
    }

    /// Each budget's key, what is spent of it, and how much there was.
    pub(crate) fn budgets(&self, limits: &Limits) -> impl Iterator<Item = (&'static str, u64, u64)> {
        Budget::ALL
            .into_iter()
            .zip(self.spent)
            .map(|(budget, spent)| (budget.key(), spent, budget.of(limits)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_used_up_and_the_refusal_is_remembered() {
        let limits = Limits { blobs: 10, enqueued: 0, ..Limits::default() };
        let mut usage = Usage::default();
        assert!(usage.spend(Budget::Blobs, 6, &limits).is_ok());
        let Err(Error::Quota(why)) = usage.spend(Budget::Blobs, 5, &limits) else { panic!() };
        assert!(why.contains("10 bytes of blobs") && why.contains("limits.blobs"), "{why}");
        assert!(usage.spend(Budget::Blobs, 4, &limits).is_ok(), "a refusal takes nothing");
        assert!(usage.spend(Budget::Enqueued, 1, &limits).is_err());
        let refused: Vec<_> =
            usage.refused().iter().map(|near| (near.name.as_ref(), near.used, near.of)).collect();
        assert_eq!(refused, [("blobs", 11, 10), ("enqueued", 1, 0)]);
        assert!(usage.budgets(&limits).any(|budget| budget == ("blobs", 10, 10)));
    }

    #[test]
    fn budgets_stand_at_their_own_place() {
        for (index, budget) in Budget::ALL.into_iter().enumerate() {
            assert_eq!(budget as usize, index);
        }
    }
}
