//! The clocks of guests: they tick in milliseconds. Finer clocks are what attacks on a processor's caches measure with;
//! handlers measure in milliseconds.

use std::time::{Duration, Instant, SystemTime};

use wasmtime_wasi::{HostMonotonicClock, HostWallClock};

/// The distance between two readings that differ.
const TICK: Duration = Duration::from_millis(1);

/// Counts from when the cell first asked.
pub(crate) struct CoarseClock(Instant);

impl CoarseClock {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }
}

impl HostMonotonicClock for CoarseClock {
    fn resolution(&self) -> u64 {
        nanoseconds(TICK)
    }

    fn now(&self) -> u64 {
        let tick = nanoseconds(TICK);
        nanoseconds(self.0.elapsed()) / tick * tick
    }
}

/// The time of day.
pub(crate) struct CoarseTime;

impl HostWallClock for CoarseTime {
    fn resolution(&self) -> Duration {
        TICK
    }

    fn now(&self) -> Duration {
        // A machine whose clock stands before 1970 has no better time to give.
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Duration::from_millis(u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_forward_in_whole_milliseconds() {
        let clock = CoarseClock(Instant::now().checked_sub(Duration::from_micros(2_700)).unwrap());
        let now = clock.now();
        assert!(now >= 2_000_000 && now.is_multiple_of(1_000_000), "{now}");
        assert!(clock.now() >= now);
        assert_eq!(clock.resolution(), 1_000_000);
    }

    #[test]
    fn the_time_of_day_is_whole_milliseconds() {
        let now = CoarseTime.now();
        assert!(now.subsec_nanos().is_multiple_of(1_000_000) && now.as_secs() > 1_700_000_000, "{now:?}");
    }
}
