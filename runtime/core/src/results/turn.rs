//! Who computes a content, and how long the others wait for it.

use std::time::Duration;

use crate::job::Job;

/// How long the lock of a content lasts without being renewed: what a host that vanished costs those who wait.
pub(super) const LOCK: Duration = Duration::from_secs(6);
/// How often its holder renews it: a few times within it, so that one renewal may be lost.
pub(super) const RENEW_EVERY: Duration = Duration::from_secs(2);

/// The first pause of a job that waits: longer than most handlers take.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
/// The longest one: each costs a claim, and is at most so much too long.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// How often the job was started and given back without using an attempt. Reasons other than ours are among them; they
/// make it wait less, and nothing else.
pub(super) fn given_back(job: &Job) -> u64 {
    job.attempts_started.saturating_sub(job.attempts_made + job.stalled_count + 1)
}

/// How long a job waits next that was given back so often. None once it has waited as long as an attempt may take: whoever
/// holds the lock then, it is not the one it began to wait for, and that one had no result.
pub(super) fn wait(given_back: u64, attempt: Duration) -> Option<Duration> {
    let mut waited = Duration::ZERO;
    for n in 0..given_back {
        waited += pause(n);
        if waited >= attempt + LOCK {
            return None;
        }
    }
    Some(pause(given_back))
}

fn pause(n: u64) -> Duration {
    let doublings = u32::try_from(n).unwrap_or(u32::MAX).min(16);
    (PAUSE_FIRST * 2_u32.pow(doublings)).min(PAUSE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::JobId;

    #[test]
    fn pauses_grow_and_end_when_an_attempt_would_have() {
        let attempt = Duration::from_secs(4);
        let pauses: Vec<u128> =
            (0..).map_while(|n| wait(n, attempt)).map(|pause| pause.as_millis()).collect();
        assert_eq!(pauses[..6], [100, 200, 400, 800, 1000, 1000]);
        // 1.5 s of growing pauses, then one a second.
        assert_eq!(pauses.len(), 4 + 9);
        assert_eq!(wait(u64::MAX, attempt), None);
        assert_eq!(wait(0, Duration::ZERO), Some(PAUSE_FIRST), "everybody looks twice");
    }

    #[test]
    fn only_starts_that_used_nothing_up_were_given_back() {
        let mut job = Job::new(JobId::new("1").unwrap(), "n", "{}");
        job.attempts_started = 1;
        assert_eq!(given_back(&job), 0);
        (job.attempts_made, job.stalled_count, job.attempts_started) = (2, 1, 9);
        assert_eq!(given_back(&job), 5);
        job.attempts_started = 0;
        assert_eq!(given_back(&job), 0, "somebody reset it");
    }
}
