//! `jobcell host …`: the hosts of the fleet, and telling them to go quiet or to stop.

mod finished;
mod reach;

use std::collections::BTreeMap;
use std::time::Duration;

use jobcell_core::fleet::{HostStatus, OrderKind, Phase, meant};
use jobcell_core::{Clock, SystemClock};
use serde::Serialize;
use tokio::time::{Instant, sleep, timeout};

use super::args::{ChosenHosts, HostCommand};
use super::console::{Console, counted, duration, table, visible};
use super::exit::{Exit, Failure};
use crate::config::{Config, Environment};
use crate::fleet::local;
pub(super) use reach::{QueueStanding, Reach, unanswered};

/// Between two looks whether a host has done what it was told.
const LOOK: Duration = Duration::from_millis(250);

/// What a host was told and what came of it, as `--json` prints it.
#[derive(Serialize)]
struct Told {
    id: String,
    order: &'static str,
    done: bool,
}

/// Runs the command.
pub(super) async fn run(
    command: HostCommand,
    config: &Config,
    environment: &Environment,
    console: &mut Console<'_>,
) -> Result<Exit, Failure> {
    let reach = Reach::open(config, environment).await?;
    let ended = match command {
        HostCommand::Ls => list(&reach, console).await,
        HostCommand::Quiet(chosen) => tell(&reach, chosen, OrderKind::Quiet, console).await,
        HostCommand::Unquiet(chosen) => tell(&reach, chosen, OrderKind::Unquiet, console).await,
        HostCommand::Stop(chosen) => tell(&reach, chosen, OrderKind::Stop, console).await,
    };
    reach.close().await;
    ended
}

async fn list(reach: &Reach, console: &mut Console<'_>) -> Result<Exit, Failure> {
    let hosts = reach.hosts().await?;
    console.answer(&hosts, |hosts| {
        if hosts.is_empty() {
            return "no host is running on this store\n".to_owned();
        }
        let titles = ["id", "phase", ">up", ">active", ">cells", ">memory", "queues", "handlers", "address"];
        visible(&table(&titles, &hosts.iter().map(row).collect::<Vec<_>>()))
    })?;
    Ok(Exit::Done)
}

fn row(host: &HostStatus) -> Vec<String> {
    let up = Duration::from_millis(SystemClock.now().saturating_sub(host.started_at));
    let queues: Vec<&str> = host.queues.iter().map(|queue| queue.name.as_str()).collect();
    let handlers = host.handlers.iter().map(|(name, handler)| {
        let version = handler.active.as_deref().map_or("-", short);
        let lags = if handler.lag.is_some() { " lags" } else { "" };
        format!("{name}@{version}{lags}")
    });
    vec![
        host.id.clone(),
        host.phase.as_str().to_owned(),
        duration(Duration::from_secs(up.as_secs())),
        host.active().to_string(),
        format!("{}/{}", host.cells.active, host.cells.max),
        format!("{} MiB", host.memory_bytes >> 20),
        queues.join(","),
        handlers.collect::<Vec<_>>().join(","),
        host.address.clone().unwrap_or_else(|| "-".to_owned()),
    ]
}

/// A version as people read it.
pub(super) fn short(digest: &str) -> &str {
    let hex = digest.strip_prefix("sha256:").unwrap_or(digest);
    hex.get(..12).unwrap_or(hex)
}

async fn tell(
    reach: &Reach,
    chosen: ChosenHosts,
    kind: OrderKind,
    console: &mut Console<'_>,
) -> Result<Exit, Failure> {
    let ChosenHosts { hosts: asked, all, timeout: patience } = chosen;
    let living = reach.hosts().await?;
    let mut ids: BTreeMap<String, bool> = BTreeMap::new();
    if all {
        ids.extend(living.iter().map(|host| (host.id.clone(), false)));
    }
    for asked in &asked {
        ids.extend(meant(&living, asked)?.into_iter().map(|host| (host.id.clone(), false)));
    }
    for id in ids.keys() {
        reach.order(id, kind).await?;
    }
    if patience > Duration::ZERO {
        let waiting = until_done(reach, kind, &mut ids, console);
        match timeout(patience, waiting).await {
            Ok(ended) => ended?,
            Err(_) => console.note(&format!("not all are {} after {}", wanted(kind), duration(patience))),
        }
    }
    let waited = patience > Duration::ZERO;
    let told: Vec<Told> =
        ids.iter().map(|(id, done)| Told { id: id.clone(), order: kind.as_str(), done: *done }).collect();
    console.answer(&told, |told| {
        if told.is_empty() {
            return "no host is running on this store\n".to_owned();
        }
        let line = |told: &Told| match (told.done, waited) {
            (true, _) => format!("{} is {}\n", told.id, wanted(kind)),
            (false, true) => format!("{} is not {} yet; it has its order\n", told.id, wanted(kind)),
            (false, false) => format!("{} has its order to {kind}\n", told.id),
        };
        visible(&told.iter().map(line).collect::<String>())
    })?;
    let all_done = ids.values().all(|done| *done);
    Ok(if all_done || !waited { Exit::Done } else { Exit::Failed })
}

fn wanted(kind: OrderKind) -> &'static str {
    match kind {
        OrderKind::Quiet => "quiet",
        OrderKind::Unquiet => "running",
        OrderKind::Stop => "gone",
        OrderKind::Reload => "read anew",
    }
}

fn is_done(kind: OrderKind, host: Option<&HostStatus>) -> bool {
    match (kind, host.map(|host| host.phase)) {
        // One that has gone meanwhile takes no jobs either.
        (OrderKind::Quiet, None) | (OrderKind::Stop, None) => true,
        (OrderKind::Quiet, Some(phase)) => matches!(phase, Phase::Quiet | Phase::Stopping),
        (OrderKind::Unquiet, Some(phase)) => phase == Phase::Running,
        (OrderKind::Stop | OrderKind::Reload, Some(_)) | (OrderKind::Unquiet | OrderKind::Reload, None) => {
            false
        }
    }
}

/// Looks until every host has done it, and says how it goes once a second.
async fn until_done(
    reach: &Reach,
    kind: OrderKind,
    ids: &mut BTreeMap<String, bool>,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let mut said = Instant::now();
    let mut pids: BTreeMap<String, u32> = BTreeMap::new();
    loop {
        let hosts = match (reach.hosts().await, reach) {
            (Ok(hosts), _) => hosts,
            // The host that was asked has ended, as it was told.
            (Err(_), Reach::Host(_)) if kind == OrderKind::Stop => Vec::new(),
            (Err(error), _) => return Err(error),
        };
        let find = |id: &str| hosts.iter().find(|host| host.id == id);
        pids.extend(hosts.iter().map(|host| (host.id.clone(), host.pid)));
        for (id, done) in ids.iter_mut() {
            // The store of a host on this machine is free only once its process has ended.
            let goes_on =
                matches!(reach, Reach::Host(_)) && pids.get(id).is_some_and(|pid| local::lives(*pid));
            *done |= is_done(kind, find(id)) && !(kind == OrderKind::Stop && goes_on);
        }
        let left: Vec<&String> = ids.iter().filter(|(_, done)| !**done).map(|(id, _)| id).collect();
        if left.is_empty() {
            return Ok(());
        }
        if said.elapsed() >= Duration::from_secs(1) && !console.json {
            said = Instant::now();
            for id in left {
                let jobs = find(id).map_or(0, HostStatus::active);
                console.note(&visible(&format!("waiting for {id}: {} running", counted(jobs, "job"))));
            }
        }
        sleep(LOOK).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_done_when_the_host_shows_it() {
        let host = |phase| HostStatus { phase, ..HostStatus::default() };
        for (kind, phase, done) in [
            (OrderKind::Quiet, Some(Phase::Running), false),
            (OrderKind::Quiet, Some(Phase::Quiet), true),
            (OrderKind::Quiet, None, true),
            (OrderKind::Unquiet, Some(Phase::Quiet), false),
            (OrderKind::Unquiet, Some(Phase::Running), true),
            (OrderKind::Unquiet, None, false),
            (OrderKind::Stop, Some(Phase::Stopping), false),
            (OrderKind::Stop, None, true),
        ] {
            assert_eq!(is_done(kind, phase.map(host).as_ref()), done, "{kind} {phase:?}");
        }
        assert_eq!(short("sha256:0123456789abcdef"), "0123456789ab");
    }
}
