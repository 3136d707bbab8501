//! `jobcell flow …`: adding trees of jobs and looking at them.

pub(super) mod tree;

use std::fmt::Write;

use jobcell_core::store::{Added, AddedFlow, Flow};
use jobcell_core::{Admin, Clock, SystemClock};
use jobcell_server::Tree;
use serde::Serialize;

use super::args::FlowCommand;
use super::console::{Console, visible};
use super::exit::{Exit, Failure};
use super::jobs;
use super::payload;

/// A job that was added, with what is below it.
#[derive(Serialize)]
struct AddedView {
    id: String,
    queue: String,
    name: String,
    /// False when a job with this id, or the owner of the deduplication id, was there already.
    added: bool,
    children: Vec<AddedView>,
}

/// What has children in the shape of a tree.
trait Branch {
    fn line(&self) -> String;
    fn branches(&self) -> &[Self]
    where
        Self: Sized;
    fn has_more(&self) -> bool;
}

/// Runs the command. `prefix` is what the keys of jobs begin with.
pub(super) async fn run(
    store: &dyn Admin,
    prefix: &str,
    command: FlowCommand,
    console: &mut Console<'_>,
) -> Result<Exit, Failure> {
    match command {
        FlowCommand::Add { tree } => {
            let (tree, place) = payload::text(&tree, "the argument", console.input)?;
            let flow = tree::read(&tree, prefix)
                .map_err(|fault| Failure::usage(format!("{place} is not a flow: {fault}")))?;
            // What is wrong with what was typed is bad usage; what is in the way in the store is not.
            flow.clone().laid_out(prefix, || 0).map_err(|error| Failure::usage(error.to_string()))?;
            let names = names(&flow);
            let added = store.add_flow(flow, SystemClock.now()).await?;
            let view = added_view(added, &names, &mut 0);
            console.answer(&view, drawn)?;
        }
        FlowCommand::Show { job, depth, width } => {
            let (queue, id) = jobs::named(&job)?;
            if store.get(&queue, &id).await?.is_none() {
                return Err(jobs::missing(store, &queue, &id).await);
            }
            let shown = jobcell_server::tree(store, prefix, (queue, id), depth, width).await?;
            console.answer(&shown, drawn)?;
        }
    }
    Ok(Exit::Done)
}

// --- adding ---

/// The names of the jobs, parents before their children.
fn names(flow: &Flow) -> Vec<String> {
    let mut found = vec![flow.job.name.clone()];
    found.extend(flow.children.iter().flat_map(names));
    found
}

fn added_view(added: AddedFlow, names: &[String], place: &mut usize) -> AddedView {
    let AddedFlow { queue, added, children } = added;
    let name = names.get(*place).cloned().unwrap_or_default();
    *place += 1;
    AddedView {
        id: added.id().to_string(),
        queue: queue.to_string(),
        name,
        added: matches!(added, Added::New(_)),
        children: children.into_iter().map(|child| added_view(child, names, place)).collect(),
    }
}

// --- drawing ---

impl Branch for AddedView {
    fn line(&self) -> String {
        let Self { id, queue, name, added, children: _ } = self;
        format!("{name}  {queue}:{id}{}", if *added { "" } else { "  (was there)" })
    }

    fn branches(&self) -> &[Self] {
        &self.children
    }

    fn has_more(&self) -> bool {
        false
    }
}

impl Branch for Tree {
    fn line(&self) -> String {
        let Self { id, queue, name, state, child, failed_reason, .. } = self;
        let key = queue.as_ref().map_or_else(|| id.clone(), |queue| format!("{queue}:{id}"));
        let name = name.as_deref().unwrap_or("-");
        let state = state.unwrap_or(if queue.is_some() { "gone" } else { "elsewhere" });
        let mut line = format!("{name}  {key}  {state}");
        // What the state does not say by itself.
        if let Some(what @ ("failed" | "ignored")) = child {
            let _ = write!(line, "  ({what})");
        } else if state == "gone"
            && let Some(what) = child
        {
            let _ = write!(line, "  ({what})");
        }
        if let Some(reason) = failed_reason.as_deref().and_then(|reason| reason.lines().next()) {
            let _ = write!(line, "  {}", reason.chars().take(60).collect::<String>());
        }
        line
    }

    fn branches(&self) -> &[Self] {
        &self.children
    }

    fn has_more(&self) -> bool {
        self.more
    }
}

/// A tree as lines of text.
fn drawn<T: Branch>(tree: &T) -> String {
    let mut text = visible(&tree.line()) + "\n";
    draw(tree, "", &mut text);
    text
}

fn draw<T: Branch>(tree: &T, indent: &str, text: &mut String) {
    let branches = tree.branches();
    for (i, branch) in branches.iter().enumerate() {
        let last = i + 1 == branches.len() && !tree.has_more();
        let (mark, under) = if last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        *text += &format!("{indent}{mark}{}\n", visible(&branch.line()).replace('\n', " "));
        draw(branch, &format!("{indent}{under}"), text);
    }
    if tree.has_more() {
        *text += &format!("{indent}└─ … more\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(name: &str, children: Vec<Tree>, more: bool) -> Tree {
        Tree {
            id: "1".into(),
            queue: Some("q".into()),
            name: Some(name.into()),
            state: Some("waiting"),
            child: Some("pending"),
            failed_reason: None,
            children,
            more,
        }
    }

    #[test]
    fn a_tree_is_drawn() {
        let tree = shown(
            "top",
            vec![shown("a", vec![shown("b", vec![], true)], false), shown("c", vec![], false)],
            false,
        );
        let expected = "top  q:1  waiting\n├─ a  q:1  waiting\n│  └─ b  q:1  waiting\n│     └─ … more\n└─ c  q:1  waiting\n";
        assert_eq!(drawn(&tree), expected);
    }
}
