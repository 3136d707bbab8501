//! How often somebody may try a token.
//!
//! Tokens are long and cannot be tried through; this keeps those who do it from filling logs and audit, and a person's
//! short token from being guessed.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::seats::network;

/// Wrong tokens from one address in a window.
const WRONG_MAX: u32 = 8;
/// Wrong tokens from all addresses together in a window.
const WRONG_MAX_ALL: u32 = 200;
/// After so long wrong ones are forgotten.
const WINDOW: Duration = Duration::from_secs(300);
/// Addresses that are remembered.
const ADDRESSES_MAX: usize = 4096;

/// Counts wrong tokens.
#[derive(Default)]
pub(super) struct Throttle {
    tried: Mutex<Tried>,
}

#[derive(Default)]
struct Tried {
    by_address: HashMap<IpAddr, Wrong>,
    all: Option<Wrong>,
}

#[derive(Clone, Copy)]
struct Wrong {
    since: Instant,
    count: u32,
}

impl Throttle {
    /// Takes a place for one try before the token is looked at, so that many at once are counted as well.
    ///
    /// # Errors
    /// How long to wait when there were too many.
    pub(super) fn try_once(&self, from: IpAddr) -> Result<(), Duration> {
        let now = Instant::now();
        let mut tried = self.tried();
        if tried.by_address.len() >= ADDRESSES_MAX {
            tried.by_address.retain(|_, wrong| now - wrong.since < WINDOW);
            if tried.by_address.len() >= ADDRESSES_MAX {
                tried.by_address.clear();
            }
        }
        let mut all = tried.all.unwrap_or(Wrong { since: now, count: 0 });
        let of = tried.by_address.entry(network(from)).or_insert(Wrong { since: now, count: 0 });
        of.count_one(now, WRONG_MAX)?;
        let counted = all.count_one(now, WRONG_MAX_ALL);
        tried.all = Some(all);
        counted
    }

    /// The token was right: what was wrong before is forgiven.
    pub(super) fn forgive(&self, from: IpAddr) {
        let mut tried = self.tried();
        let forgiven = tried.by_address.remove(&network(from)).map_or(0, |wrong| wrong.count);
        if let Some(all) = &mut tried.all {
            all.count = all.count.saturating_sub(forgiven);
        }
    }

    fn tried(&self) -> MutexGuard<'_, Tried> {
        self.tried.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wrong {
    fn count_one(&mut self, now: Instant, max: u32) -> Result<(), Duration> {
        if now - self.since >= WINDOW {
            *self = Self { since: now, count: 0 };
        }
        if self.count >= max {
            return Err(WINDOW - (now - self.since));
        }
        self.count += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn who_tries_too_often_waits_and_others_do_not() {
        let throttle = Throttle::default();
        let (one, other) = (address("2001:db8::1"), address("10.0.0.1"));
        for _ in 0..WRONG_MAX {
            throttle.try_once(one).unwrap();
        }
        let wait = throttle.try_once(address("2001:db8::2")).unwrap_err();
        assert!(wait <= WINDOW && wait > WINDOW / 2, "{wait:?}");
        throttle.try_once(other).unwrap();
        tokio::time::advance(WINDOW).await;
        throttle.try_once(one).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_right_token_forgives_and_all_together_are_bounded() {
        let throttle = Throttle::default();
        for _ in 0..3 {
            for _ in 0..WRONG_MAX {
                throttle.try_once(address("10.0.0.1")).unwrap();
            }
            throttle.forgive(address("10.0.0.1"));
        }
        let from = |n: u32| IpAddr::from((0x0a00_0000 + n).to_be_bytes());
        let let_in = (0..1000).filter(|n| throttle.try_once(from(*n)).is_ok()).count();
        assert_eq!(let_in, WRONG_MAX_ALL as usize);
    }
}
