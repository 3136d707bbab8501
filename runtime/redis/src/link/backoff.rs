//! Growing pauses with jitter, for everything that connects again.

use std::time::Duration;

/// The longest pause between tries, so that workers claim again within 2 s of Redis being back.
const PAUSE_MAX: Duration = Duration::from_millis(500);
const PAUSE_MIN: Duration = Duration::from_millis(50);
/// How long a try may take: most are short, so that one that went nowhere is not still waited for when Redis is back;
/// every fourth has the time that a slow line needs.
const TRY: Duration = Duration::from_secs(2);

/// Counts tries since the last success.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    tries: u32,
}

// === impl Backoff ===

impl Backoff {
    /// How long to pause before the next try: about 50 ms, then twice as long each time up to half a second, each
    /// anywhere in its upper half so that a fleet does not come back all at once.
    pub(crate) fn next_pause(&mut self) -> Duration {
        let full = PAUSE_MIN.saturating_mul(2u32.saturating_pow(self.tries)).min(PAUSE_MAX);
        self.tries = self.tries.saturating_add(1);
        full.mul_f64(rand::random_range(0.5..=1.0))
    }

    /// How long the try after the last pause may take.
    pub(crate) fn patience(&self) -> Duration {
        if self.tries.is_multiple_of(4) { crate::connect::CONNECT_TIMEOUT } else { TRY }
    }

    /// Tries since the last success.
    pub(crate) fn tries(&self) -> u32 {
        self.tries
    }

    /// After a success.
    pub(crate) fn reset(&mut self) {
        self.tries = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_are_never_nothing() {
        let mut backoff = Backoff::default();
        for _ in 0..100 {
            let pause = backoff.next_pause();
            assert!(pause >= PAUSE_MIN / 2 && pause <= PAUSE_MAX, "{pause:?}");
        }
        assert!(backoff.next_pause() >= PAUSE_MAX / 2);
        backoff.reset();
        assert!(backoff.next_pause() <= PAUSE_MIN);
    }

    #[test]
    fn a_slow_line_gets_its_time_now_and_then() {
        let mut backoff = Backoff::default();
        let tries = (0..8).map(|_| {
            backoff.next_pause();
            backoff.patience()
        });
        assert_eq!(tries.filter(|patience| *patience == crate::connect::CONNECT_TIMEOUT).count(), 2);
    }
}
