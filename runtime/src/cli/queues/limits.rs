//! The limits of a queue over all its workers: showing, setting and lifting them.

use std::time::Duration;

use jobcell_core::store::RateLimit;
use jobcell_core::{Admin, QueueName};
use jobcell_server::LimitsView;
use serde_json::json;

use super::super::author::{Author, Deed};
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

    /// The limit to be set, none of them for none at all; nothing where it is only shown.
    fn wanted(self) -> Option<Option<T>> {
        match self {
            Self::Show => None,
            Self::Set(value) => Some(Some(value)),
            Self::Lift => Some(None),
        }
    }
}

pub(super) async fn concurrency(
    store: &dyn Admin,
    queue: &QueueName,
    change: Change<u64>,
    author: &Author,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    if let Some(max) = change.wanted() {
        let deed = Deed::new("queue concurrency", queue)
            .from(json!({"concurrency": store.limits(queue).await?.concurrency}))
            .to(json!({"concurrency": max}));
        author.record(deed, store.set_concurrency(queue, max).await).await?;
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
    author: &Author,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let noted = |rate: Option<RateLimit>| json!({"rate": rate.map(|RateLimit { max, per }| format!("{max} in {}", duration(per)))});
    if let Some(rate) = change.wanted() {
        let before = store.limits(queue).await?.rate;
        let deed = Deed::new("queue rate", queue).from(noted(before)).to(noted(rate));
        author.record(deed, store.set_rate(queue, rate).await).await?;
    }
    if let Some(rest) = rest {
        let deed = Deed::new("queue rest", queue).to(json!({"rests": duration(rest)}));
        let rested = store.rest(queue, Some(rest).filter(|rest| !rest.is_zero())).await;
        author.record(deed, rested).await?;
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
