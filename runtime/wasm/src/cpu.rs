//! How long an attempt has computed: the time its future was being polled, told to the guest's interrupt while it still
//! is.
//!
//! An attempt moves between threads, and its guest yields at every tick, so the time is added up poll by poll. The
//! interrupt runs deep inside of a poll and knows nothing but its thread: what it asks for lies in that thread.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// What an attempt has computed, and the poll that goes on.
#[derive(Clone, Copy)]
struct Slice {
    before: Duration,
    from: Mark,
}

/// When a poll began.
#[derive(Clone, Copy)]
enum Mark {
    /// By the clock on the wall. For the first poll, which is the only one of a handler that never waits: this clock
    /// costs no system call, and a tick ends the poll before it can be far off.
    Wall(Instant),
    /// By the thread's own clock, which stands still while another process has the core.
    Thread(Duration),
}

thread_local! {
    static SLICE: Cell<Option<Slice>> = const { Cell::new(None) };
}

/// What the attempt polled on this thread has computed so far; zero outside of [`Metered`].
pub(crate) fn used() -> Duration {
    SLICE.get().map_or(Duration::ZERO, |slice| slice.before + slice.from.elapsed())
}

// === impl Mark ===

impl Mark {
    fn elapsed(self) -> Duration {
        match self {
            Self::Wall(from) => from.elapsed(),
            Self::Thread(from) => thread_time().saturating_sub(from),
        }
    }
}

fn thread_time() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    // A thread's clock counts up from zero.
    Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// Measures how long a future is being polled: computing, without waiting.
pub(crate) struct Metered<'a, 'b, F> {
    computed: &'a mut Duration,
    is_first: bool,
    inner: Pin<&'b mut F>,
}

// === impl Metered ===

impl<'a, 'b, F> Metered<'a, 'b, F> {
    /// Adds to `computed` while `inner` is polled.
    pub(crate) fn new(computed: &'a mut Duration, inner: Pin<&'b mut F>) -> Self {
        Self { computed, is_first: true, inner }
    }
}

impl<F: Future> Future for Metered<'_, '_, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let from = if std::mem::replace(&mut self.is_first, false) {
            Mark::Wall(Instant::now())
        } else {
            Mark::Thread(thread_time())
        };
        let slice = Slice { before: *self.computed, from };
        SLICE.set(Some(slice));
        let polled = self.inner.as_mut().poll(cx);
        SLICE.set(None);
        *self.computed += from.elapsed();
        polled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compute(for_: Duration) {
        let from = thread_time();
        while thread_time() - from < for_ {}
    }

    #[tokio::test]
    async fn computing_counts_over_polls_and_waiting_does_not() {
        const STEP: Duration = Duration::from_millis(5);
        let mut seen = Vec::new();
        let mut computed = Duration::ZERO;
        {
            let inner = std::pin::pin!(async {
                for _ in 0..4 {
                    compute(STEP);
                    seen.push(used());
                    tokio::time::sleep(Duration::from_millis(30)).await;
                }
            });
            Metered::new(&mut computed, inner).await;
        }
        for (n, used) in (1..).zip(&seen) {
            assert!(*used >= STEP * n, "{seen:?}");
        }
        assert!(computed >= STEP * 4 && computed < Duration::from_millis(120), "{computed:?}");
        assert_eq!(used(), Duration::ZERO);
    }
}
