//! `jobcell queue explain`: why jobs that were added do not run.

use jobcell_core::QueueName;
use jobcell_core::fleet::Fleet;
use jobcell_server::{Explanation, Reason};
use serde_json::json;

use super::super::console::{Console, visible};
use super::super::exit::{Exit, Failure};
use super::super::handler::Remote;
use crate::config::Config;
use crate::explain::{Depth, Scope};
use crate::stores::OpenStore;

/// Explains one queue, or those of the configuration and all others that have jobs waiting.
pub(super) async fn run(
    config: &Config,
    open: &OpenStore,
    queue: Option<String>,
    console: &mut Console<'_>,
) -> Result<Exit, Failure> {
    let fleet = Fleet::new(std::sync::Arc::clone(&open.documents));
    let scope = Scope::open(&*open.store, config, &open.prefix, &fleet).await;
    if scope.hosts.is_none() {
        console
            .note("note: the hosts of the fleet cannot be read, so whether one works a queue is not known");
    }
    let found = match queue {
        Some(queue) => {
            let found = scope.explain(&QueueName::new(queue)?, Depth::Deep).await?;
            console.answer(&found, of_one)?;
            vec![found]
        }
        None => {
            let mut queues: Vec<QueueName> = scope.configured().cloned().collect();
            queues.extend(scope.others_that_wait().await?);
            let mut found = Vec::new();
            for queue in queues {
                found.push(scope.explain(&queue, Depth::Deep).await?);
            }
            console.answer(&json!(found), |_| found.iter().map(of_one).collect())?;
            found
        }
    };
    Ok(if found.iter().any(Explanation::is_wrong) { Exit::Failed } else { Exit::Done })
}

/// The same of a running host's own store, which one process alone may open.
pub(in crate::cli) async fn of_host(
    remote: &Remote,
    config: &Config,
    queue: Option<String>,
    console: &mut Console<'_>,
) -> Result<Exit, Failure> {
    let whole = queue.is_none();
    let queues = queue.map_or_else(|| config.queues.keys().cloned().collect(), |queue| vec![queue]);
    let mut found = Vec::new();
    for queue in queues {
        let answer = remote.look(&["api", "v1", "queues", &queue, "explain"]).await?;
        let one: Explanation = serde_json::from_value(answer)
            .map_err(|error| Failure::failed(format!("the host answered something else: {error}")))?;
        found.push(one);
    }
    match found.first().filter(|_| !whole) {
        Some(one) => console.answer(one, of_one)?,
        None => console.answer(&json!(found), |_| found.iter().map(of_one).collect())?,
    }
    Ok(if found.iter().any(Explanation::is_wrong) { Exit::Failed } else { Exit::Done })
}

fn of_one(found: &Explanation) -> String {
    let Explanation { queue, waiting, hosts, reasons, .. } = found;
    let by = if hosts.is_empty() { String::new() } else { format!("; worked by {}", hosts.join(", ")) };
    let mut shown = format!("{queue}: {}{by}\n", found.standing());
    for Reason { code, wrong, message } in reasons {
        let mark = if *wrong { "WRONG" } else { "note " };
        shown += &format!("{mark}  {code}: {message}\n");
    }
    if reasons.is_empty() && *waiting > 0 {
        shown += "ok     nothing holds them up\n";
    }
    visible(&shown)
}
