//! The clock of a handler.
//!
//! In a cell [`std::time::SystemTime`] works as well; what is read through [`now_ms`] can also be set in a native
//! test with `testing::Host::at`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Milliseconds since the Unix epoch.
///
/// Natively this is the clock of the running `testing::Host` if that was set, otherwise the system's.
pub fn now_ms() -> u64 {
    crate::host::now_ms().unwrap_or_else(|| unix_ms(SystemTime::now()))
}

/// Waits so long. The time counts against the deadline and not as computing.
///
/// Natively it moves the clock of the running `testing::Host` on if that was set, and takes no time; otherwise it waits.
pub fn sleep(duration: Duration) {
    crate::host::sleep(duration);
}

/// A point in time as milliseconds since the Unix epoch; 0 for times before it.
pub fn unix_ms(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Whole milliseconds, rounded up: a shorter wait than asked for would be a surprise, and 0 often means "none".
pub(crate) fn whole_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}
