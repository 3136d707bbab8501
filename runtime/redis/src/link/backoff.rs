//! Growing pauses with jitter, and tries beside each other, for everything that connects again.

use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::time::sleep;

/// The longest pause between tries, so that workers claim again within 2 s of Redis being back.
const PAUSE_MAX: Duration = Duration::from_millis(500);
const PAUSE_MIN: Duration = Duration::from_millis(50);
/// How long a try is waited for alone. One that went nowhere, because packets were swallowed, hangs until its time is up
/// although Redis is back; one on a slow line needs that time. So others begin beside it.
const ALONE_MAX: Duration = Duration::from_millis(750);

/// Opens something, with tries beside each other where they take long. The first that ends decides. Cancel safe where the
/// tries are.
pub(crate) async fn open_beside_each_other<T, E, F>(open: impl Fn() -> F) -> Result<T, E>
where
    F: Future<Output = Result<T, E>>,
{
    let mut tries = FuturesUnordered::new();
    loop {
        tries.push(open());
        tokio::select! {
            Some(ended) = tries.next() => return ended,
            () = sleep(ALONE_MAX) => {}
        }
    }
}

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

    #[tokio::test(start_paused = true)]
    async fn a_try_that_hangs_keeps_nobody_from_a_later_one_and_a_slow_one_has_its_time() {
        let begun = std::cell::Cell::new(0);
        let after = |tries: u32, took: Duration| {
            let begun = &begun;
            move || {
                begun.set(begun.get() + 1);
                let is_there = begun.get() >= tries;
                async move {
                    if !is_there {
                        std::future::pending::<()>().await;
                    }
                    sleep(took).await;
                    Ok::<_, ()>(())
                }
            }
        };
        let start = tokio::time::Instant::now();
        open_beside_each_other(after(4, Duration::ZERO)).await.unwrap();
        assert_eq!((begun.get(), start.elapsed()), (4, 3 * ALONE_MAX));

        begun.set(0);
        let start = tokio::time::Instant::now();
        open_beside_each_other(after(1, 5 * ALONE_MAX)).await.unwrap();
        assert_eq!(start.elapsed(), 5 * ALONE_MAX);
    }
}
