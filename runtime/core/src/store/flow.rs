//! Trees of jobs: each runs after its children are done.

use std::collections::VecDeque;

use super::{Added, NewJob, Parent, StoreError};
use crate::names::{JobId, QueueName};

/// Jobs that one tree may have. It is added in one step, during which a store does nothing else: about 20 µs a job.
pub const FLOW_JOBS_MAX: usize = 10_000;
/// Levels that one tree may have.
pub const FLOW_DEPTH_MAX: usize = 64;
/// Bytes that the payloads of one tree may have together.
pub const FLOW_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A tree of jobs: each runs after its children are done. Children may be in other queues than their parent.
#[derive(Debug, Clone)]
pub struct Flow {
    /// The queue of the job at the top.
    pub queue: QueueName,
    /// The job at the top. Only the topmost job of a tree may name a parent of its own.
    pub job: NewJob,
    /// What it waits for; none makes it an ordinary job.
    pub children: Vec<Flow>,
}

/// What became of a [`Flow`], in its shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddedFlow {
    /// The queue of the job at the top.
    pub queue: QueueName,
    /// What became of it.
    pub added: Added,
    /// What became of its children, in order.
    pub children: Vec<AddedFlow>,
}

/// One job of a [`Flow`] that was laid out for a store.
#[derive(Debug, Clone)]
pub struct FlowJob {
    /// Its queue.
    pub queue: QueueName,
    /// Its id: the producer's, else a random one.
    pub id: JobId,
    /// The job, with its parent.
    pub job: NewJob,
    /// The place of its parent in the list; none for the topmost.
    pub above: Option<usize>,
    /// It waits for children from the start.
    pub waits: bool,
}

// === impl Flow ===

impl Flow {
    /// A job without children.
    #[must_use]
    pub fn new(queue: QueueName, job: NewJob) -> Self {
        Self { queue, job, children: Vec::new() }
    }

    /// The same with another child.
    #[must_use]
    pub fn child(mut self, child: Self) -> Self {
        self.children.push(child);
        self
    }

    /// The jobs of the tree in a list, level by level from the top as BullMQ adds them, checked and ready to be written.
    /// `prefix` is what the store's keys start with; `random` gives ids to those that have none.
    ///
    /// # Errors
    /// [`StoreError::Rejected`] when the tree is too large, or a job of it can never be stored.
    pub fn laid_out(
        self,
        prefix: &str,
        mut random: impl FnMut() -> u128,
    ) -> Result<Vec<FlowJob>, StoreError> {
        let mut jobs: Vec<FlowJob> = Vec::new();
        let mut bytes = 0_usize;
        let mut ahead = VecDeque::from([(self, None, 1)]);
        while let Some((Self { queue, mut job, children }, above, depth)) = ahead.pop_front() {
            bytes = bytes.saturating_add(job.data.len());
            check_size(jobs.len() + ahead.len() + 1, depth, bytes)?;
            let waits = !children.is_empty();
            check_place(&queue, &job, above.is_some(), waits)?;
            job.parent = match above {
                None => job.parent()?,
                Some(above) => {
                    let FlowJob { queue, id, .. }: &FlowJob = &jobs[above];
                    Some(Parent { queue_key: format!("{prefix}:{queue}"), id: id.clone() })
                }
            };
            job.check()?;
            let id = match &job.options.job_id {
                Some(id) => JobId::custom(id).map_err(|e| StoreError::Rejected(e.to_string()))?,
                None => JobId::random(random()),
            };
            let place = jobs.len();
            ahead.extend(children.into_iter().map(|child| (child, Some(place), depth + 1)));
            jobs.push(FlowJob { queue, id, job, above, waits });
        }
        Ok(jobs)
    }
}

fn check_size(jobs: usize, depth: usize, bytes: usize) -> Result<(), StoreError> {
    let (what, limit, fix) = if jobs > FLOW_JOBS_MAX {
        ("jobs", FLOW_JOBS_MAX, "let handlers add further children while they run")
    } else if depth > FLOW_DEPTH_MAX {
        ("levels", FLOW_DEPTH_MAX, "let handlers add further children while they run")
    } else if bytes > FLOW_BYTES_MAX {
        ("bytes of payload", FLOW_BYTES_MAX, "put large data into blobs and name them in the payload")
    } else {
        return Ok(());
    };
    Err(StoreError::Rejected(format!(
        "the flow has more than {limit} {what}, and is added in one step; {fix}"
    )))
}

/// What a job may not say because of where it stands.
fn check_place(queue: &QueueName, job: &NewJob, is_child: bool, waits: bool) -> Result<(), StoreError> {
    let NewJob { name, options, parent, .. } = job;
    let has_parent = parent.is_some() || options.parent.is_some();
    let said = if is_child && has_parent {
        "names a parent, but its place in the flow is one already; only the topmost job may name one"
    } else if waits && options.deduplication.is_some() {
        // Its children are added with it, and could not follow it to the job that is there instead.
        "has children and a deduplication id; only jobs without children can be deduplicated in a flow"
    } else if (is_child || has_parent)
        && options.deduplication.as_ref().is_some_and(|deduplication| deduplication.keep_last_if_active)
    {
        "has a parent and keepLastIfActive, but is not there to be waited for while it is kept back; leave that out"
    } else {
        return Ok(());
    };
    Err(StoreError::Rejected(format!("job {name:?} of the flow in queue {:?} {said}", queue.as_str())))
}

// === impl AddedFlow ===

impl AddedFlow {
    /// The tree of a list of [`Flow::laid_out`], with what became of each. None when they are not of one length.
    #[must_use]
    pub fn assemble(jobs: &[FlowJob], added: Vec<Added>) -> Option<Self> {
        if jobs.len() != added.len() {
            return None;
        }
        // From the end: a job's children are whole before it is reached.
        let mut below: Vec<Vec<Self>> = jobs.iter().map(|_| Vec::new()).collect();
        for (FlowJob { queue, above, .. }, added) in jobs.iter().zip(added).rev() {
            let mut children = below.pop()?;
            children.reverse();
            let tree = Self { queue: queue.clone(), added, children };
            match above {
                Some(above) => below.get_mut(*above)?.push(tree),
                None => return Some(tree),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::{Deduplication, ParentRef};

    fn queue(name: &str) -> QueueName {
        QueueName::new(name).unwrap()
    }

    fn flow(name: &str, children: Vec<Flow>) -> Flow {
        Flow { queue: queue("q"), job: NewJob::new(name, "{}"), children }
    }

    fn named(name: &str, id: &str, children: Vec<Flow>) -> Flow {
        let mut flow = flow(name, children);
        flow.job.options.job_id = Some(id.into());
        flow
    }

    fn refused(flow: Flow) -> String {
        match flow.laid_out("bull", || 7) {
            Err(StoreError::Rejected(why)) => why,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn parents_come_before_children_and_the_shape_comes_back() {
        let tree = named(
            "a",
            "a",
            vec![named("b", "b", vec![named("c", "c", vec![])]), named("d", "d", vec![]), flow("e", vec![])],
        );
        let jobs = tree.laid_out("bull", || 7).unwrap();
        let told: Vec<_> = jobs.iter().map(|job| (job.job.name.as_str(), job.above, job.waits)).collect();
        let expected = [
            ("a", None, true),
            ("b", Some(0), true),
            ("d", Some(0), false),
            ("e", Some(0), false),
            ("c", Some(1), false),
        ];
        assert_eq!(told, expected);
        assert_eq!(jobs[4].job.parent, Some(Parent { queue_key: "bull:q".into(), id: jobs[1].id.clone() }));
        assert_eq!(jobs[3].id.as_str(), "00000000-0000-4000-8000-000000000007");
        let added: Vec<Added> = jobs.iter().map(|job| Added::New(job.id.clone())).collect();
        let tree = AddedFlow::assemble(&jobs, added.clone()).unwrap();
        let ids = |tree: &AddedFlow| -> Vec<String> {
            tree.children.iter().map(|child| child.added.id().to_string()).collect()
        };
        assert_eq!(ids(&tree)[..2], ["b", "d"]);
        assert_eq!(ids(&tree.children[0]), ["c"]);
        assert_eq!(AddedFlow::assemble(&jobs, added[1..].to_vec()), None);
    }

    #[test]
    fn a_tree_that_is_too_large_is_refused() {
        let wide = flow("a", (0..FLOW_JOBS_MAX).map(|_| flow("b", vec![])).collect());
        assert!(refused(wide).contains("10000 jobs"));
        let deep = (0..FLOW_DEPTH_MAX).fold(flow("a", vec![]), |below, _| flow("a", vec![below]));
        assert!(refused(deep).contains("64 levels"));
        let mut heavy = flow("a", vec![]);
        heavy.job.data = vec![b'1'; FLOW_BYTES_MAX + 1].into();
        assert!(refused(heavy).contains("bytes of payload"));
    }

    #[test]
    fn what_a_job_may_not_say_in_its_place_is_refused() {
        let mut child = flow("b", vec![]);
        child.job.options.parent = Some(ParentRef { id: "1".into(), queue: "bull:q".into() });
        assert!(refused(flow("a", vec![child.clone()])).contains("topmost"));
        assert_eq!(child.laid_out("bull", || 7).unwrap()[0].job.parent.as_ref().unwrap().id.as_str(), "1");

        let mut parent = flow("a", vec![flow("b", vec![])]);
        parent.job.options.deduplication = Some(Deduplication { id: "d".into(), ..Default::default() });
        assert!(refused(parent).contains("deduplication"));
        let mut child = flow("b", vec![]);
        child.job.options.deduplication =
            Some(Deduplication { id: "d".into(), keep_last_if_active: true, ..Default::default() });
        assert!(refused(flow("a", vec![child])).contains("keepLastIfActive"));

        assert!(refused(named("a", "17", vec![])).contains("whole numbers"));
        let mut child = flow("b", vec![]);
        child.job.options.fail_parent_on_failure = true;
        child.job.options.ignore_dependency_on_failure = true;
        let told = refused(flow("a", vec![child]));
        assert!(told.contains("failParentOnFailure, ignoreDependencyOnFailure"), "{told}");
    }
}
