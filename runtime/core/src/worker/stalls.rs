//! Recovers jobs whose lock ran out: their worker vanished, or was cut off from the store, this one included.
//!
//! Every worker asks at start and then every interval; the store lets one round through per interval, so any number of
//! workers may ask. If it never happens, such jobs stay active for ever.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::{QueueSettings, Surroundings};
use crate::event::Event;

/// The longest a round is waited for. Stores bound theirs well below; this is for one that hangs all the same.
const ROUND_MAX: Duration = Duration::from_secs(60);

/// Repeats [`run_once`]; ends only by being dropped.
pub(super) async fn run(surroundings: Surroundings, settings: QueueSettings) {
    let mut ticks = interval(settings.stall.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let round = AssertUnwindSafe(run_once(&surroundings, &settings)).catch_unwind();
        let queue = &settings.queue;
        match timeout(ROUND_MAX, round).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => tracing::error!(%queue, "looking for stalled jobs panicked; trying again"),
            Err(_) => tracing::warn!(%queue, "looking for stalled jobs did not end; trying again"),
        }
    }
}

/// One round.
pub(super) async fn run_once(surroundings: &Surroundings, settings: &QueueSettings) {
    let Surroundings { store, observer, clock, .. } = surroundings;
    let queue = &settings.queue;
    match store.recover_stalled(queue, settings.stall, clock.now()).await {
        Ok(recovered) => {
            for id in recovered.jobs {
                tracing::warn!(%queue, job = %id, "recovered a job whose lock had run out: its worker vanished, or was cut off from the store");
                observer.on(&Event::Stalled { queue: queue.clone(), id });
            }
        }
        Err(error) => tracing::warn!(%queue, %error, "stalled jobs could not be looked for; trying again"),
    }
}
