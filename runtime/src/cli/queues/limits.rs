//! The limits of a queue over all its workers: showing, setting and lifting them.

use std::time::Duration;

use jobcell_core::store::RateLimit;
use jobcell_core::{Admin, QueueName};
use jobcell_server::LimitsView;

use super::super::console::{Console, counted, duration, visible};
use super::super::exit::Failure;

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
    console.answer(&LimitsView::new(queue, &limits), |_| {
        let held = limits.concurrency.map_or("is not limited".to_owned(), |max| {
            format!("runs at most {} at once, over all its workers", counted(max, "job"))
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
    console.answer(&LimitsView::new(queue, &limits), |_| {
        let mut held = limits.rate.map_or("is not limited".to_owned(), |RateLimit { max, per }| {
            let per = duration(per);
            format!("starts at most {} in {per}, over all its workers", counted(max, "job"))
        });
        if let Some(rest) = limits.rests_for {
            held += &format!(", and rests for another {}", duration(rest));
        }
        visible(&format!("queue {queue} {held}\n"))
    })
}
