//! What the tests leave out: steps that would run into a difference which would spread from there.

use super::super::act::{Act, End, How, NewOne, Rate, Tree, What};
use super::super::world::World;
use super::super::{Major, QUEUES};

/// The step itself, or another one in its place; none when there is no such.
pub(in super::super) fn avoid(world: &mut World, mut act: Act, now: u64) -> Option<Act> {
    for queue in QUEUES {
        if world.paused(queue)
            && splits(world, queue, now)
            && !matches!(act.what, What::Resume | What::Expire { .. })
        {
            return Some(Act { queue, what: What::Resume });
        }
    }
    if left_out(world, &act) {
        return None;
    }
    bend(world, &mut act);
    ends(world, &mut act, now);
    limit(world, &mut act);
    Some(act)
}

fn left_out(world: &mut World, Act { queue, what }: &Act) -> bool {
    let five = world.major == Major::Five;
    match what {
        // One with a priority that has run before is as old as its last start, like any; to BullMQ it is as old as itself.
        What::Clean { state: "prioritized", .. } => world.any_started(queue, "prioritized"),
        // Of a list we clean away the oldest first and BullMQ the newest, so parents that waited for them start in another
        // order.
        What::Clean { state: state @ ("wait" | "paused" | "active"), .. } => world.children(queue, state) > 1,
        // A scheduler's pending job stays. BullMQ keeps the job itself, but of its list other ids in its place.
        What::Drain { .. } => world.schedulers_job_waits(queue),
        // A scheduler does not write over a job of its own that has begun; BullMQ does where it just removed the next one.
        What::Schedule { id, repeat, .. } => {
            repeat.every.is_none() && world.keys(&format!("bull:{queue}:repeat:{id}:*")).len() > 1
        }
        // BullMQ 5 puts a job that is retried among those without a priority, whatever its own is; since 6.3.15 it does
        // as we do.
        What::Retry { id, .. } => five && world.field(queue, id, "priority").is_some_and(|p| p != "0"),
        // BullMQ 5 does not make such jobs children of their parents again.
        What::RetryAll { state, .. } => five && world.children(queue, state) > 0,
        // With a queue go its parents that wait for children; BullMQ leaves those.
        What::Obliterate { .. } => !world.ids(queue, "waiting-children").is_empty(),
        // A tree goes when nothing in it runs. BullMQ looks only at children that are waited for.
        What::Remove { id, tree: true } => {
            let key = format!("bull:{queue}:{id}");
            let runs = world.runs_below(&key, true) && !world.runs_below(&key, false);
            // A child that has found another parent since sets that free when it goes; in BullMQ that waits for ever.
            runs || world.adopted_below(&key)
        }
        _ => false,
    }
}

fn bend(world: &mut World, act: &mut Act) {
    let queue = act.queue;
    match &mut act.what {
        What::Clean { state, limit, .. } if !matches!(*state, "completed" | "failed") => {
            // With a limit BullMQ looks at no more jobs than that, old enough or not; we remove as many.
            *limit = 0;
            // Jobs that wait while the queue is paused are no state of their own; in BullMQ 5 they are.
            if *state == "wait" && world.exists(&format!("bull:{queue}:paused")) {
                *state = "paused";
            }
        }
        // The pending job of a scheduler that is set again goes, wherever it waits. BullMQ 6 looks for it in the list that
        // only BullMQ 5 has.
        What::Schedule { .. } if world.major == Major::Six && world.paused(queue) => act.what = What::Resume,
        // What a scheduler had of its other rule goes with that; BullMQ keeps a part of it.
        What::Schedule { id, repeat, .. } if world.ruled_otherwise(queue, id, repeat.every.is_some()) => {
            let id = id.clone();
            act.what = What::Unschedule { id };
        }
        What::Flow { tree } => whole(world, tree, &mut Vec::new()),
        What::Add { jobs, .. } => jobs.iter_mut().for_each(|job| straight(world, queue, job)),
        _ => {}
    }
}

fn ends(world: &mut World, act: &mut Act, now: u64) {
    let queue = act.queue;
    if let What::Finish { ends, .. } = &mut act.what {
        let paused = world.paused(queue);
        for end in &mut *ends {
            // A job that is given back to a time which is not ahead is due in the same step; see `splits`.
            if let How::Delay { until } = &mut end.how
                && paused
            {
                *until = (*until).max(now + 1);
            }
        }
        let due = ends.iter().any(|end| matches!(end.how, How::Delay { until } if until <= now));
        if due || world.due(queue, now) > 0 {
            // BullMQ moves due jobs before it looks whether the job that is to be tried again is still the worker's own.
            for End { held, how } in ends {
                if let How::Fail { r#final, .. } = how
                    && !world.owns(queue, held)
                {
                    *r#final = true;
                }
            }
        }
    }
    if let What::Claim { next, .. } | What::Finish { next, .. } = &mut act.what
        && world.any_scheduled(queue)
    {
        // A claim takes all its jobs and then makes the next runs of schedulers. BullMQ's worker takes one job, makes the
        // next run, and may take that at once.
        next.truncate(1);
    }
}

/// A flow is added whole or not at all. BullMQ adds the rest of one that has a child which has another parent already, so
/// there are none such; nor such as would make a circle.
fn whole(world: &mut World, tree: &mut Tree, used: &mut Vec<String>) {
    let id = tree.job.opts.job_id.get_or_insert_default();
    let taken = |world: &mut World, id: &str| {
        world.field(tree.queue, id, "parentKey").is_some()
            || world.exists(&format!("bull:{}:{id}:dependencies", tree.queue))
            // BullMQ 5 starts a parent when it meets a child that completed before, and adds the others later.
            || world.major == Major::Five && world.finished(tree.queue, id).is_some()
    };
    while used.contains(id) || taken(world, id) {
        id.push('x');
    }
    used.push(id.clone());
    tree.children.iter_mut().for_each(|child| whole(world, child, used));
}

/// A job never comes below itself. BullMQ lets it, and both would wait for each other for ever.
fn straight(world: &mut World, queue: &str, job: &mut NewOne) {
    if let Some(deduplication) = &mut job.opts.deduplication {
        // Of 6.7.
        deduplication.reschedule &= world.major == Major::Six;
        // Who replaces an owner replaces what was kept back behind it, too. In BullMQ that runs after the replacement.
        deduplication.replace &= !world.exists(&format!("bull:{queue}:dn:{}", deduplication.id));
    }
    let (Some(id), Some(parent)) = (&job.opts.job_id, &job.opts.parent) else { return };
    let own = format!("bull:{queue}:{id}");
    if world.major == Major::Five && world.above(&own).is_some_and(|before| !world.exists(&before)) {
        // A job whose parent is gone gets another one, but not from BullMQ 5.
        job.opts.job_id = None;
        return;
    }
    let mut above = Some(format!("{}:{}", parent.queue, parent.id));
    while let Some(key) = above {
        if key == own {
            job.opts.job_id = None;
            return;
        }
        above = world.above(&key);
    }
}

/// Limits of claims.
fn limit(world: &mut World, act: &mut Act) {
    let (by, fails) = match &mut act.what {
        What::Claim { by, .. } => (by, false),
        What::Finish { by, ends, .. } => {
            if ends.iter().any(|end| matches!(end.how, How::Rest { .. })) {
                by.limiter.get_or_insert(UNREACHED);
                return;
            }
            (by, ends.iter().any(|end| matches!(end.how, How::Fail { .. })))
        }
        _ => return,
    };
    if world.rests(act.queue) {
        by.limiter.get_or_insert(UNREACHED);
    } else if world.major == Major::Five && (fails || world.deferred(act.queue)) {
        // Starts of jobs that fail without running count against a limit in BullMQ 5; since 6.3 they do not.
        by.limiter = None;
        if world.field(act.queue, "meta", "max").is_some() {
            act.what = What::Rate { rate: None };
        }
    }
}

/// A rest that was asked for by hand holds in our store whether there is a limit or not. Of BullMQ's workers only those
/// with a limit keep it, so all have one then, which no window reaches.
const UNREACHED: Rate = Rate { max: 1_000_000, duration: 3_600_000 };

/// Pausing, with clients of both majors on one queue (protocol §18). While a queue is paused we do not make the second
/// of the lists `wait` and `paused`: due jobs stay delayed, and where neither list is there a job that comes back is
/// delayed, because an older client's resuming would overwrite what stands in `wait`. BullMQ itself loses jobs there.
fn splits(world: &mut World, queue: &str, now: u64) -> bool {
    let listed = ["wait", "paused"].iter().any(|list| world.exists(&format!("bull:{queue}:{list}")));
    world.due(queue, now) > 0 || (world.major == Major::Six && !listed)
}
