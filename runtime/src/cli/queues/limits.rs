//! The limits of a queue over all its workers: showing, setting and lifting them.

use std::time::Duration;

use jobcell_core::store::{Limits, RateLimit};
use jobcell_core::{Admin, QueueName};
use serde::Serialize;

use super::super::console::{Console, visible};
use super::super::exit::Failure;

/// Limits as `--json` prints them.
#[derive(Serialize)]
struct LimitsView<'a> {
    name: &'a str,
    paused: bool,
    concurrency: Option<u64>,
    rate: Option<RateView>,
    rests_for_ms: Option<u64>,
}

#[derive(Serialize)]
struct RateView {
    max: u64,
    per_ms: u64,
}

/// What becomes of a limit.
pub(super) enum Change<T> {
    Show,
    Set(T),
    Lift,
}

impl<T> Change<T> {
    /// From an argument and `--off`, of which at most one is given.
    pub(super) fn of(value: Option<T>, off: bool) -> Self {
        match (value, off) {
            (Some(value), _) => Self::Set(value),
            (None, true) => Self::Lift,
            (None, false) => Self::Show,
        }
    }
}

pub(super) async fn concurrency(
    store: &dyn Admin,
    queue: &QueueName,
    change: Change<u64>,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    match change {
        Change::Show => {}
        Change::Set(max) => store.set_concurrency(queue, Some(max)).await?,
        Change::Lift => store.set_concurrency(queue, None).await?,
    }
    let limits = store.limits(queue).await?;
    console.answer(&view(queue, &limits), |_| {
        let held = limits.concurrency.map_or("is not limited".to_owned(), |max| {
            format!("runs at most {max} jobs at once, over all its workers")
        });
        visible(&format!("queue {queue} {held}\n"))
    })
}

pub(super) async fn rate(
    store: &dyn Admin,
    queue: &QueueName,
    change: Change<RateLimit>,
    rest: Option<Duration>,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    match change {
        Change::Show => {}
        Change::Set(rate) => store.set_rate(queue, Some(rate)).await?,
        Change::Lift => store.set_rate(queue, None).await?,
    }
    if let Some(rest) = rest {
        store.rest(queue, Some(rest).filter(|rest| !rest.is_zero())).await?;
    }
    let limits = store.limits(queue).await?;
    console.answer(&view(queue, &limits), |_| {
        let mut held = limits.rate.map_or("is not limited".to_owned(), |RateLimit { max, per }| {
            let per = humantime::format_duration(per);
            format!("starts at most {max} jobs in {per}, over all its workers")
        });
        if let Some(rest) = limits.rests_for {
            held += &format!(", and rests for another {}", humantime::format_duration(rest));
        }
        visible(&format!("queue {queue} {held}\n"))
    })
}

fn view<'a>(queue: &'a QueueName, limits: &Limits) -> LimitsView<'a> {
    let Limits { paused, concurrency, rate, rests_for } = limits;
    let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    LimitsView {
        name: queue.as_str(),
        paused: *paused,
        concurrency: *concurrency,
        rate: rate.map(|rate| RateView { max: rate.max, per_ms: ms(rate.per) }),
        rests_for_ms: rests_for.map(ms),
    }
}
