//! The wait before the next attempt, as BullMQ computes it.

use crate::options::{Backoff, BackoffKind};

/// The longest wait: about 24 days, so that a large exponent cannot overflow a due time.
pub const DELAY_MS_MAX: u64 = 1 << 31;

/// A rule this host cannot compute.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "backoff type {0:?} is computed by the producer's own workers; use \"fixed\" or \"exponential\" for jobs that run here"
)]
pub struct UnknownBackoff(pub String);

/// Milliseconds to wait after the `made`th failed attempt (1 for the first), with `entropy` from 0 up to 1.
///
/// `fixed` waits `delay`; `exponential` waits `delay · 2^(made−1)`; a jitter `j` lets the wait fall anywhere in its
/// last `j` share: from `v·(1−j)` up to `v`.
///
/// # Errors
/// When the rule is a custom one.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "values are bounded by DELAY_MS_MAX, far below 2^53"
)]
pub fn delay_ms(backoff: &Backoff, made: u64, entropy: f64) -> Result<u64, UnknownBackoff> {
    let base = match &backoff.kind {
        BackoffKind::Fixed => backoff.delay,
        BackoffKind::Exponential => {
            let doublings = u32::try_from(made.saturating_sub(1)).unwrap_or(u32::MAX);
            backoff.delay.saturating_mul(2u64.checked_pow(doublings).unwrap_or(u64::MAX))
        }
        BackoffKind::Custom(name) => return Err(UnknownBackoff(name.clone())),
    }
    .min(DELAY_MS_MAX) as f64;
    let jitter = backoff.jitter.unwrap_or(0.0).clamp(0.0, 1.0);
    Ok((entropy * base * jitter + base * (1.0 - jitter)).floor() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(kind: BackoffKind, delay: u64, jitter: Option<f64>) -> Backoff {
        Backoff { kind, delay, jitter }
    }

    #[test]
    fn fixed_stays_and_exponential_doubles() {
        let f = rule(BackoffKind::Fixed, 500, None);
        let e = rule(BackoffKind::Exponential, 500, None);
        let waits = |b: &Backoff| (1..=4).map(|n| delay_ms(b, n, 0.9).unwrap()).collect::<Vec<_>>();
        assert_eq!(waits(&f), [500, 500, 500, 500]);
        assert_eq!(waits(&e), [500, 1000, 2000, 4000]);
    }

    #[test]
    fn jitter_spreads_the_shipped_values_over_their_whole_range() {
        for delay in [1u64, 1000, 2000, 30_000] {
            let b = rule(BackoffKind::Exponential, delay, Some(0.5));
            assert_eq!(delay_ms(&b, 1, 0.0).unwrap(), delay / 2);
            assert!(delay_ms(&b, 1, 0.999_999).unwrap() <= delay);
            if delay > 1 {
                assert_ne!(delay_ms(&b, 1, 0.2).unwrap(), delay_ms(&b, 1, 0.8).unwrap());
            }
        }
    }

    #[test]
    fn a_huge_exponent_is_bounded() {
        let b = rule(BackoffKind::Exponential, 1000, None);
        assert_eq!(delay_ms(&b, 200, 0.5).unwrap(), DELAY_MS_MAX);
    }

    #[test]
    fn a_custom_rule_is_named() {
        let b = rule(BackoffKind::Custom("jittery".into()), 1, None);
        assert!(delay_ms(&b, 1, 0.0).unwrap_err().to_string().contains("\"jittery\""));
    }
}
