//! A job with everything below it in its flow.

use std::collections::{HashSet, VecDeque};

use jobcell_core::store::Children;
use jobcell_core::{Admin, JobId, JobState, QueueName, StoreError};
use serde::Serialize;
use utoipa::ToSchema;

use crate::view::StateName;

/// A job of a flow, with what is below it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Tree {
    /// Its id; its whole key when it is not of this store's prefix.
    pub id: String,
    /// None when the job is not of this store's prefix.
    pub queue: Option<String>,
    /// None when the job is gone.
    pub name: Option<String>,
    /// The state it is in.
    #[schema(value_type = Option<StateName>)]
    pub state: Option<&'static str>,
    /// What its parent knows of it: `pending`, `completed`, `failed` or `ignored`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub child: Option<&'static str>,
    /// Why its last attempt failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed_reason: Option<String>,
    /// Those it waits or waited for.
    #[schema(no_recursion)]
    pub children: Vec<Tree>,
    /// There are children that are not shown.
    pub more: bool,
}

/// Jobs of a tree that are shown at most, those nearest to its top.
const SHOWN_MAX: usize = 1000;

/// A job that is still to be looked at.
struct Ahead {
    queue: QueueName,
    id: JobId,
    above: Option<usize>,
    child: Option<&'static str>,
    level: u64,
}

/// Looks at the tree level by level, down to `depth`, at most `width` children of each job. `prefix` is what the keys of
/// jobs begin with.
///
/// # Errors
/// When the store fails.
pub async fn tree(
    store: &dyn Admin,
    prefix: &str,
    (queue, id): (QueueName, JobId),
    depth: u64,
    width: u64,
) -> Result<Tree, StoreError> {
    let mut found: Vec<(Tree, Option<usize>)> = Vec::new();
    let mut seen = HashSet::from([(queue.clone(), id.clone())]);
    let mut ahead = VecDeque::from([Ahead { queue, id, above: None, child: None, level: 1 }]);
    while let Some(Ahead { queue, id, above, child, level }) = ahead.pop_front() {
        let (job, state) = store.look_at(&queue, &id).await?.unzip();
        let place = found.len();
        let mut shown = Tree {
            id: id.to_string(),
            queue: Some(queue.to_string()),
            name: job.as_ref().map(|job| job.name.clone()),
            state: state.flatten().map(JobState::as_str),
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

fn foreign(key: String, what: &'static str) -> Tree {
    Tree {
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
pub(crate) fn place_of(prefix: &str, key: &str) -> Option<(QueueName, JobId)> {
    let (queue, id) = key.strip_prefix(prefix)?.strip_prefix(':')?.split_once(':')?;
    Some((QueueName::new(queue).ok()?, JobId::new(id).ok()?))
}

/// The tree of a list in which parents come before their children.
fn assembled(mut found: Vec<(Tree, Option<usize>)>) -> Tree {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(name: &str, children: Vec<Tree>, more: bool) -> Tree {
        Tree {
            queue: Some("q".into()),
            name: Some(name.into()),
            state: Some("waiting"),
            children,
            more,
            ..foreign("1".into(), "pending")
        }
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
}
