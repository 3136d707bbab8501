//! `jobcell flow …`: adding trees of jobs and looking at them.

use std::collections::{HashSet, VecDeque};
use std::fmt::Write;

use bytes::Bytes;
use jobcell_core::store::{Added, AddedFlow, Children, Flow, NewJob};
use jobcell_core::{Admin, Clock, JobId, JobState, QueueName, SystemClock};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::args::FlowCommand;
use super::console::{Console, visible};
use super::exit::{Exit, Failure};
use super::jobs;
use super::options::PublicOptions;
use super::payload;

/// Jobs of a tree that are shown at most, those nearest to its top.
const SHOWN_MAX: usize = 1000;

/// A tree as BullMQ's `FlowProducer` takes it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Tree {
    name: String,
    queue_name: String,
    prefix: Option<String>,
    data: Option<Box<RawValue>>,
    opts: Option<PublicOptions>,
    children: Option<Vec<Tree>>,
}

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

/// A job that is shown, with what is below it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    id: String,
    /// None when the job is not of this store's prefix.
    queue: Option<String>,
    /// None when the job is gone.
    name: Option<String>,
    state: Option<&'static str>,
    /// What its parent knows of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    child: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failed_reason: Option<String>,
    children: Vec<Shown>,
    /// There are children that are not shown.
    more: bool,
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
            let tree: Tree = serde_json::from_slice(&tree).map_err(|fault| {
                Failure::usage(format!(
                    "{place} is not a flow: {fault}; write it as BullMQ's FlowProducer takes it"
                ))
            })?;
            let names = names(&tree);
            let added = store.add_flow(flow(tree, prefix)?, SystemClock.now()).await?;
            let view = added_view(added, &names, &mut 0);
            console.answer(&view, drawn)?;
        }
        FlowCommand::Show { job, depth, width } => {
            let (queue, id) = jobs::named(&job)?;
            if store.get(&queue, &id).await?.is_none() {
                return Err(jobs::missing(store, &queue, &id).await);
            }
            let shown = look(store, prefix, (queue, id), depth, width).await?;
            console.answer(&shown, drawn)?;
        }
    }
    Ok(Exit::Done)
}

// --- adding ---

fn flow(tree: Tree, prefix: &str) -> Result<Flow, Failure> {
    let Tree { name, queue_name, prefix: named, data, opts, children } = tree;
    if name.is_empty() {
        return Err(Failure::usage("a job of the flow has an empty name; handlers are chosen by it"));
    }
    if let Some(named) = named.filter(|named| named != prefix) {
        return Err(Failure::usage(format!(
            "job {name:?} of the flow has prefix {named:?}, and this store has {prefix:?}; leave it out"
        )));
    }
    let data =
        data.map_or(Bytes::from_static(b"{}"), |data| Bytes::from(Box::<str>::from(data).into_string()));
    let opts = opts.unwrap_or_default();
    if let Some(limit) = opts.size_limit.filter(|limit| data.len() > *limit) {
        return Err(Failure::usage(format!(
            "job {name:?} of the flow has {} bytes of data, over its sizeLimit of {limit}",
            data.len()
        )));
    }
    let job = NewJob { name, data, options: opts.into(), parent: None };
    let children = children.unwrap_or_default().into_iter().map(|child| flow(child, prefix));
    Ok(Flow { queue: QueueName::new(&queue_name)?, job, children: children.collect::<Result<_, _>>()? })
}

/// The names of the jobs, parents before their children.
fn names(tree: &Tree) -> Vec<String> {
    let mut found = vec![tree.name.clone()];
    found.extend(tree.children.iter().flatten().flat_map(names));
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

// --- looking ---

/// A job that is still to be looked at.
struct Ahead {
    queue: QueueName,
    id: JobId,
    above: Option<usize>,
    child: Option<&'static str>,
    level: u64,
}

/// Looks at the tree level by level, down to `depth`, at most `width` children of each job.
async fn look(
    store: &dyn Admin,
    prefix: &str,
    (queue, id): (QueueName, JobId),
    depth: u64,
    width: u64,
) -> Result<Shown, Failure> {
    let mut found: Vec<(Shown, Option<usize>)> = Vec::new();
    let mut seen = HashSet::from([(queue.clone(), id.clone())]);
    let mut ahead = VecDeque::from([Ahead { queue, id, above: None, child: None, level: 1 }]);
    while let Some(Ahead { queue, id, above, child, level }) = ahead.pop_front() {
        let job = store.get(&queue, &id).await?;
        let state = store.state(&queue, &id).await?;
        let place = found.len();
        let mut shown = Shown {
            id: id.to_string(),
            queue: Some(queue.to_string()),
            name: job.as_ref().map(|job| job.name.clone()),
            state: state.map(JobState::as_str),
            child,
            failed_reason: job.and_then(|job| job.failed_reason),
            children: Vec::new(),
            more: false,
        };
        let below = store.children(&queue, &id, width.saturating_add(1)).await?;
        let mut strange = Vec::new();
        for (taken, (key, what)) in (0..).zip(kinds(below)) {
            if level >= depth || taken >= width || place + ahead.len() + strange.len() + 1 >= SHOWN_MAX {
                shown.more = true;
                break;
            }
            match place_of(prefix, &key) {
                // A tree that somebody tied into a circle is shown once.
                Some((queue, id)) if !seen.insert((queue.clone(), id.clone())) => {}
                Some((queue, id)) => {
                    ahead.push_back(Ahead {
                        queue,
                        id,
                        above: Some(place),
                        child: Some(what),
                        level: level + 1,
                    });
                }
                None => strange.push(foreign(key, what)),
            }
        }
        shown.children = strange;
        found.push((shown, above));
    }
    Ok(assembled(found))
}

/// The children of a job in one list, those first that it waits for.
fn kinds(below: Children) -> Vec<(String, &'static str)> {
    let Children { pending, completed, ignored, failed } = below;
    let first = |(key, _)| key;
    let with = |keys: Vec<String>, what| keys.into_iter().map(move |key| (key, what));
    with(pending, "pending")
        .chain(with(failed, "failed"))
        .chain(with(ignored.into_iter().map(first).collect(), "ignored"))
        .chain(with(completed.into_iter().map(first).collect(), "completed"))
        .collect()
}

fn foreign(key: String, what: &'static str) -> Shown {
    Shown {
        id: key,
        queue: None,
        name: None,
        state: None,
        child: Some(what),
        failed_reason: None,
        children: Vec::new(),
        more: false,
    }
}

/// The queue and the id in a full key.
fn place_of(prefix: &str, key: &str) -> Option<(QueueName, JobId)> {
    let (queue, id) = key.strip_prefix(prefix)?.strip_prefix(':')?.split_once(':')?;
    Some((QueueName::new(queue).ok()?, JobId::new(id).ok()?))
}

/// The tree of a list in which parents come before their children.
fn assembled(mut found: Vec<(Shown, Option<usize>)>) -> Shown {
    loop {
        match found.pop() {
            Some((mut shown, Some(above))) => {
                shown.children.reverse();
                if let Some((parent, _)) = found.get_mut(above) {
                    parent.children.push(shown);
                }
            }
            Some((mut shown, None)) => {
                shown.children.reverse();
                return shown;
            }
            None => return foreign(String::new(), "pending"),
        }
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

impl Branch for Shown {
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

    fn shown(name: &str, children: Vec<Shown>, more: bool) -> Shown {
        Shown {
            queue: Some("q".into()),
            name: Some(name.into()),
            state: Some("waiting"),
            children,
            more,
            ..foreign("1".into(), "pending")
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

    #[test]
    fn a_list_becomes_a_tree_in_order() {
        let list = vec![
            (shown("top", vec![], false), None),
            (shown("a", vec![], false), Some(0)),
            (shown("b", vec![], false), Some(0)),
            (shown("c", vec![], false), Some(1)),
        ];
        let tree = assembled(list);
        let names: Vec<_> = tree.children.iter().map(|child| child.name.clone().unwrap()).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(tree.children[0].children[0].name.as_deref(), Some("c"));
    }

    #[test]
    fn keys_of_other_prefixes_are_not_ours() {
        let (queue, id) = place_of("bull", "bull:q:repeat:s:17").unwrap();
        assert_eq!((queue.as_str(), id.as_str()), ("q", "repeat:s:17"));
        assert!(place_of("bull", "other:q:1").is_none() && place_of("bull", "bull:q").is_none());
    }

    fn read(json: &str) -> Result<Flow, String> {
        let tree: Tree = serde_json::from_str(json).map_err(|error| error.to_string())?;
        flow(tree, "bull").map_err(|failure| match failure {
            Failure::Told { message, .. } => message,
            Failure::OutputClosed => unreachable!("nothing is written"),
        })
    }

    #[test]
    fn a_flow_is_read_as_the_flow_producer_takes_it() {
        let flow = read(
            r#"{"name":"top","queueName":"q","prefix":"bull","data":{"b": 1.0,"a":2},"opts":{"attempts":3},
                "children":[{"name":"a","queueName":"r","opts":{"failParentOnFailure":true}},
                            {"name":"b","queueName":"q","children":[]}]}"#,
        )
        .unwrap();
        assert_eq!((&flow.job.data[..], flow.job.options.attempts), (&br#"{"b": 1.0,"a":2}"#[..], 3));
        assert_eq!(&flow.children[1].job.data[..], b"{}");
        assert!(flow.children[0].job.options.fail_parent_on_failure);
        assert_eq!(flow.children[0].queue.as_str(), "r");
    }

    #[test]
    fn what_is_wrong_with_a_flow_is_named() {
        for (json, word) in [
            (r#"{"name":"a"}"#, "queueName"),
            (r#"{"name":"a","queueName":"q","childs":[]}"#, "childs"),
            (r#"{"name":"a","queueName":"q","opts":{"prio":1}}"#, "prio"),
            (r#"{"name":"a","queueName":"q:r"}"#, "q:r"),
            (r#"{"name":"","queueName":"q"}"#, "empty name"),
            (r#"{"name":"a","queueName":"q","prefix":"other"}"#, "other"),
            (r#"{"name":"a","queueName":"q","data":"xxxxx","opts":{"sizeLimit":3}}"#, "sizeLimit"),
        ] {
            let told = read(json).unwrap_err();
            assert!(told.contains(word), "{told}");
        }
    }
}
