//! `jobcell top`: the figures of a fleet on a terminal, made anew every second until somebody presses `q`.

mod screen;
mod view;

use std::io::IsTerminal;
use std::time::Duration;

use crossterm::event::{Event, EventStream, KeyCode, KeyEventKind, KeyModifiers};
use futures::StreamExt;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::args::WatchArgs;
use super::exit::{Exit, Failure};
use super::host::Reach;
use super::stats::{Figures, Snapshot};
use crate::config::{Config, Environment};
use screen::Screen;

/// How long one look may take: a store that is away must not freeze the screen.
const LOOK_MAX: Duration = Duration::from_secs(5);
/// Between two looks at least, and at most.
const INTERVALS: std::ops::RangeInclusive<Duration> = Duration::from_millis(200)..=Duration::from_secs(60);

/// Shows figures until somebody has seen enough.
pub(super) async fn run(
    args: WatchArgs,
    config: &Config,
    environment: &Environment,
) -> Result<Exit, Failure> {
    if !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
        return Err(Failure::usage(
            "top needs a terminal; `jobcell stats --json` prints the same figures once",
        ));
    }
    if !INTERVALS.contains(&args.interval) {
        return Err(Failure::usage("--interval takes 200ms to 1m"));
    }
    let reach = Reach::open(config, environment).await?;
    let ended = watch(&reach, args.interval).await;
    reach.close().await;
    ended.map(|()| Exit::Done)
}

async fn watch(reach: &Reach, every: Duration) -> Result<(), Failure> {
    // Before the screen is taken: what is wrong from the start is said in plain text.
    let mut before = Snapshot::take(reach).await?;
    let mut screen = Screen::open()?;
    let (mut keys, mut ticks) = (EventStream::new(), interval(every));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut figures = Figures::between(&before, &before);
    let mut fault = None;
    loop {
        screen.draw(|size| view::lines(&figures, fault.as_deref(), size))?;
        tokio::select! {
            _ = ticks.tick() => match timeout(LOOK_MAX, Snapshot::take(reach)).await {
                Ok(Ok(now)) => {
                    figures = Figures::between(&before, &now);
                    (before, fault) = (now, None);
                }
                // The last figures stay, marked as old.
                Ok(Err(Failure::Told { message, .. })) => fault = Some(message),
                Ok(Err(closed @ Failure::OutputClosed)) => return Err(closed),
                Err(_) => fault = Some(format!("no answer within {} s", LOOK_MAX.as_secs())),
            },
            key = keys.next() => match key {
                Some(Ok(Event::Key(key))) if key.kind != KeyEventKind::Release => {
                    let interrupts = key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c');
                    if interrupts || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc) {
                        return Ok(());
                    }
                }
                // A new size is drawn at once.
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Ok(()),
            },
        }
    }
}
