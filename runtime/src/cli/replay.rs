//! `jobcell replay`: a recorded attempt once more.

use jobcell_core::{JobId, QueueName};

use super::args::ReplayArgs;
use super::console::{Console, time, visible};
use super::exit::{Exit, Failure};
use super::{invoke, receipt};
use crate::config::Config;
use crate::replay::{RecordedEnd, Replay, Replayed, replay};
use crate::stores::OpenStore;

pub(super) async fn run(
    config: &Config,
    open: &OpenStore,
    args: ReplayArgs,
    console: &mut Console<'_>,
) -> Result<Exit, Failure> {
    let ReplayArgs { queue, id, attempt, with } = args;
    let asked = Replay { queue: QueueName::new(&queue)?, id: JobId::new(&id)?, attempt, with };
    let replayed = replay(config, open, asked).await?;
    let is_well = replayed.replayed.outcome == "completed" && replayed.diverged == 0;
    console.answer(&replayed, describe)?;
    Ok(if is_well { Exit::Done } else { Exit::Failed })
}

fn describe(replayed: &Replayed) -> String {
    let Replayed { queue, id, attempt, recorded, replayed, agrees, differences, diverged, truncated } =
        replayed;
    let RecordedEnd { version, at, outcome, stopped_by, reason, result, receipt: cost } = recorded;
    let mut shown = format!(
        "job       {} {}, attempt {attempt}\nrecorded  {outcome}{} by {version} at {}\n",
        visible(queue),
        visible(id),
        stopped_by.as_ref().map(|cause| format!(" ({cause})")).unwrap_or_default(),
        time(*at)
    );
    let mut some = |label: &str, text: &str| {
        shown += &format!("{label:<8}  {}\n", visible(text).replace('\n', "\n          "));
    };
    if let Some(result) = result {
        some("result", &result.to_string());
    }
    if let Some(reason) = reason {
        some("reason", reason);
    }
    if let Some((label, text)) = receipt::lines(cost).first() {
        some(label, text);
    }
    shown.push('\n');
    shown += &invoke::describe(replayed);
    shown.push('\n');
    if *agrees {
        shown += "agrees    the same end, and the same done outside\n";
    }
    for difference in differences {
        shown += &format!("differs   {}\n", visible(difference));
    }
    let named = differences.len() as u64;
    if *diverged > named {
        shown += &format!("differs   {} more questions without a recorded answer\n", diverged - named);
    }
    if *truncated {
        shown += "note      the recording was truncated: what came after its bound is missing\n";
    }
    shown
}
