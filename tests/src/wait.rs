//! Waiting for something to become true, with an end.

use std::time::{Duration, Instant};

/// Longest wait for something that normally takes milliseconds: two busy cores can stretch that a lot.
pub const SOON: Duration = Duration::from_secs(30);

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(10);

/// Looks until there is an answer.
///
/// # Panics
/// Names `what` when there is none within [`SOON`].
#[track_caller]
pub fn until<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    within(SOON, what, look)
}

/// Looks until there is an answer, for at most so long.
///
/// # Panics
/// Names `what` when there is none in time.
#[track_caller]
pub fn within<T>(limit: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + limit;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "{what}: not within {limit:?}");
        std::thread::sleep(PAUSE);
    }
}
