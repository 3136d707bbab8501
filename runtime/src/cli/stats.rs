//! `jobcell stats`: how queues, hosts and handlers stand, and how much is done a second.

mod figures;

use tokio::time::sleep;

use super::args::WatchArgs;
use super::console::{Console, table, visible};
use super::exit::{Exit, Failure};
use super::host::Reach;
use crate::config::{Config, Environment};
pub(super) use figures::{Figures, HandlerFigures, QueueFigures, Snapshot};

/// Looks twice and tells.
pub(super) async fn run(
    args: WatchArgs,
    config: &Config,
    environment: &Environment,
    console: &mut Console<'_>,
) -> Result<Exit, Failure> {
    let reach = Reach::open(config, environment).await?;
    let looked = async {
        let before = Snapshot::take(&reach).await?;
        sleep(args.interval).await;
        Ok::<_, Failure>(Figures::between(&before, &Snapshot::take(&reach).await?))
    };
    let figures = looked.await;
    reach.close().await;
    console.answer(&figures?, |figures| visible(&describe(figures)))?;
    Ok(Exit::Done)
}

fn describe(figures: &Figures) -> String {
    let Figures { queues, handlers, hosts, .. } = figures;
    let mut text = table(&QueueFigures::TITLES, &queues.iter().map(QueueFigures::row).collect::<Vec<_>>());
    if !handlers.is_empty() {
        text.push('\n');
        text +=
            &table(&HandlerFigures::TITLES, &handlers.iter().map(HandlerFigures::row).collect::<Vec<_>>());
    }
    let quiet = hosts.iter().filter(|host| host.phase.as_str() != "running").count();
    text += &format!(
        "\n{} ({quiet} of them take no jobs)\n",
        super::console::counted(hosts.len() as u64, "host")
    );
    text
}
