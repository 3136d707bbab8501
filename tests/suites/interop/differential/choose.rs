//! From a step of a plan to what exactly is done, by what is in the database then.

use serde_json::{Value, json};

use super::QUEUES;
use super::act::{
    Act, Backoff, Deduplication, End, Held, How, NewOne, Opts, Parent, Rate, Repeat, Settings, Template,
    Tree, What,
};
use super::ours::METRICS;
use super::plan::{Dice, Kind, START, Step};
use super::world::World;

const HOUR: u64 = 3_600_000;
pub(super) const DEDUPLICATIONS: [&str; 3] = ["d0", "d1", "d2"];
const STATES: [&str; 8] =
    ["wait", "paused", "active", "prioritized", "delayed", "waiting-children", "completed", "failed"];

/// What is done, or nothing when there is nothing to do it to.
pub(super) fn choose(world: &mut World, step: Step) -> Option<Act> {
    let mut dice = Dice::new(step.seed);
    let queue = if dice.percent(75) { QUEUES[0] } else { QUEUES[1] };
    let mut chooser = Chooser { world, dice, queue, now: step.now };
    let act = chooser.choose(step.kind)?;
    super::known::avoid(world, act, step.now)
}

struct Chooser<'a> {
    world: &'a mut World,
    dice: Dice,
    queue: &'static str,
    now: u64,
}

// === impl Chooser ===

impl Chooser<'_> {
    fn choose(&mut self, kind: Kind) -> Option<Act> {
        let what = match kind {
            Kind::Add => What::Add { jobs: vec![self.plain()], bulk: false },
            Kind::AddBulk => {
                let jobs = (0..2 + self.dice.below(5)).map(|_| self.plain()).collect();
                What::Add { jobs, bulk: true }
            }
            Kind::AddChild => What::Add { jobs: vec![self.child()?], bulk: false },
            Kind::AddDeduplicated => What::Add { jobs: vec![self.deduplicated()], bulk: false },
            Kind::Flow => {
                let tree = self.tree(0);
                self.queue = tree.queue;
                What::Flow { tree }
            }
            Kind::Claim => {
                let wanted = self.dice.of([1, 1, 1, 2, 4]);
                What::Claim { next: self.world.tokens(wanted), by: self.settings() }
            }
            Kind::Finish => self.finish(1)?,
            Kind::FinishBatch => {
                let most = 2 + self.dice.below(4);
                self.finish(most)?
            }
            Kind::Renew => {
                let locks = self.held_here(3);
                (!locks.is_empty()).then_some(What::Renew { locks, ms: 2 * HOUR })?
            }
            Kind::Stall => What::Stall { interval: HOUR, max: self.dice.below(3) },
            Kind::Expire => What::Expire { keys: self.expiring()? },
            Kind::Progress => What::Progress { id: self.any()?, value: self.value() },
            Kind::Log => {
                let lines = (0..1 + self.dice.below(3)).map(|i| format!("line {i}")).collect();
                What::Log { id: self.any()?, lines, keep: self.dice.of([None, None, Some(2)]) }
            }
            Kind::Data => What::Data { id: self.any()?, value: self.value() },
            _ => return self.administer(kind),
        };
        Some(Act { queue: self.queue, what })
    }

    fn administer(&mut self, kind: Kind) -> Option<Act> {
        let what = match kind {
            Kind::Pause => What::Pause,
            Kind::Resume => What::Resume,
            Kind::Promote => What::Promote { id: self.mostly("delayed")? },
            Kind::Retry => {
                let state = self.dice.of(["failed", "failed", "completed"]);
                let id = self.mostly(state)?;
                let state = self.world.finished(self.queue, &id).unwrap_or(state);
                What::Retry { id, state, reset: self.dice.percent(30) }
            }
            Kind::Remove => What::Remove { id: self.any()?, tree: false },
            Kind::RemoveTree => What::Remove { id: self.any()?, tree: true },
            Kind::Prune => What::Prune { id: self.mostly("waiting-children")? },
            Kind::Leave => What::Leave { id: self.any()? },
            Kind::Drain => What::Drain { delayed: self.dice.percent(50) },
            Kind::Clean => What::Clean {
                state: self.dice.of(["completed", "failed", "wait", "active", "delayed", "prioritized"]),
                grace: self.dice.of([0, 100, 60_000]),
                limit: self.dice.of([0, 0, 1, 3]),
            },
            Kind::Delay => What::Delay { id: self.mostly("delayed")?, ms: self.dice.of([1, 400, 60_000]) },
            Kind::Priority => {
                let id = match self.dice.below(3) {
                    0 => self.mostly("prioritized")?,
                    1 => self.mostly("wait")?,
                    _ => self.any()?,
                };
                What::Priority {
                    id,
                    priority: self.dice.of([0, 1, 3, 2_097_151]),
                    front: self.dice.percent(30),
                }
            }
            Kind::PromoteAll => What::PromoteAll { count: 1000 },
            Kind::RetryAll => What::RetryAll {
                state: self.dice.of(["failed", "completed"]),
                before: self.now - self.dice.of([0, 0, 1_000]),
                count: 1000,
            },
            Kind::Obliterate => What::Obliterate { force: self.dice.percent(50) },
            Kind::Concurrency => What::Concurrency { max: self.dice.of([None, None, Some(1), Some(3)]) },
            Kind::Rate => {
                let rate = Rate { max: 1 + self.dice.below(4), duration: HOUR };
                What::Rate { rate: self.dice.percent(60).then_some(rate) }
            }
            Kind::Rest => What::Rest { ms: self.dice.of([None, Some(HOUR)]) },
            Kind::Release => What::Release { deduplication: self.deduplication_id() },
            Kind::Schedule => self.schedule(),
            Kind::Unschedule => What::Unschedule { id: self.scheduler_id() },
            Kind::Look => What::Look {
                ids: (0..4).filter_map(|_| self.any()).collect(),
                deduplications: vec![self.deduplication_id()],
                priorities: vec![0, 1, 3, 7],
            },
            other => unreachable!("{other:?} is chosen above"),
        };
        Some(Act { queue: self.queue, what })
    }

    // --- which job ---

    /// A job in this state; now and then any.
    fn mostly(&mut self, state: &str) -> Option<String> {
        if self.dice.percent(12) {
            return self.any();
        }
        let ids = self.world.ids(self.queue, state);
        self.dice.one(&ids).cloned()
    }

    /// A job in any state, or one that may not exist.
    fn any(&mut self) -> Option<String> {
        let first = self.dice.below(STATES.len() as u64) as usize;
        for i in 0..STATES.len() {
            let ids = self.world.ids(self.queue, STATES[(first + i) % STATES.len()]);
            if let Some(id) = self.dice.one(&ids) {
                let odd = self.dice.percent(4);
                return Some(if odd { format!("c{}", self.dice.below(12)) } else { id.clone() });
            }
        }
        Some(format!("c{}", self.dice.below(12)))
    }

    fn held_here(&mut self, most: u64) -> Vec<Held> {
        let mut here: Vec<Held> = self
            .world
            .held
            .iter()
            .filter(|(queue, _)| *queue == self.queue)
            .map(|(_, held)| held.clone())
            .collect();
        let mut chosen = Vec::new();
        while !here.is_empty() && (chosen.len() as u64) < most {
            chosen.push(here.remove(self.dice.below(here.len() as u64) as usize));
        }
        chosen
    }

    fn expiring(&mut self) -> Option<Vec<String>> {
        let queue = self.queue;
        let mut keys = self.world.keys(&format!("bull:{queue}:*:lock"));
        if self.dice.percent(50) {
            keys = vec![format!("bull:{queue}:limiter")];
        }
        let key = self.dice.one(&keys).cloned();
        // A look at what is stalled comes no sooner than this ran out.
        let check = format!("bull:{queue}:stalled-check");
        let more = self.world.keys(&format!("bull:{queue}:de:*"));
        let more = if self.dice.percent(30) { self.dice.one(&more).cloned() } else { None };
        Some([key, Some(check), more].into_iter().flatten().collect())
    }

    // --- jobs ---

    fn value(&mut self) -> Value {
        match self.dice.below(8) {
            0 => json!(null),
            1 => json!(0),
            2 => json!("text with \"quotes\", / and é"),
            3 => json!([]),
            4 => json!({}),
            5 => json!({"deep": [{"a": 1.5}, {}], "b": []}),
            6 => json!(true),
            _ => json!({"n": self.dice.below(100)}),
        }
    }

    fn plain(&mut self) -> NewOne {
        let mut opts = self.ends();
        match self.dice.below(10) {
            0..4 => {}
            4 => opts.lifo = true,
            5 => opts.delay = Some(self.dice.of([1, 20, 20, 500, 5_000, 60_000])),
            6 => opts.priority = Some(self.dice.of([1, 3, 3, 7, 2_097_151])),
            7 => {
                opts.priority = Some(3);
                opts.delay = Some(self.dice.of([1, 300]));
            }
            _ => opts.job_id = Some(format!("c{}", self.dice.below(12))),
        }
        NewOne { name: self.dice.of(["mail", "film"]).to_owned(), data: self.value(), opts }
    }

    /// Options that say how a job ends.
    fn ends(&mut self) -> Opts {
        let keep = |dice: &mut Dice| match dice.below(12) {
            0 => Some(json!(true)),
            1 => Some(json!(false)),
            2 => Some(json!(3)),
            3 => Some(json!({"age": 60})),
            4 => Some(json!({"age": 1, "count": 2})),
            5 => Some(json!({"age": 1, "limit": 1})),
            _ => None,
        };
        Opts {
            attempts: self.dice.of([None, None, Some(1), Some(2), Some(3)]),
            backoff: match self.dice.below(4) {
                0 => Some(Backoff { kind: "fixed", delay: self.dice.of([0, 1, 50, 2_000]) }),
                1 => Some(Backoff { kind: "exponential", delay: self.dice.of([10, 1_000]) }),
                _ => None,
            },
            remove_on_complete: keep(&mut self.dice),
            remove_on_fail: keep(&mut self.dice),
            stack_trace_limit: self.dice.of([None, None, None, Some(1), Some(0)]),
            keep_logs: self.dice.of([None, None, None, Some(2)]),
            ..Opts::default()
        }
    }

    fn deduplication_id(&mut self) -> String {
        self.dice.of(DEDUPLICATIONS).to_owned()
    }

    fn deduplicated(&mut self) -> NewOne {
        let mut one = self.plain();
        one.opts.job_id = None;
        let mut deduplication = Deduplication { id: self.deduplication_id(), ..Deduplication::default() };
        deduplication.ttl = self.dice.of([None, None, Some(3 * HOUR)]);
        match self.dice.below(8) {
            0 => deduplication.extend = true,
            1 => deduplication.replace = true,
            2 => {
                deduplication.extend = true;
                deduplication.replace = true;
            }
            3 | 4 => deduplication.keep_last_if_active = true,
            5 => deduplication.reschedule = true,
            _ => {}
        }
        one.opts.deduplication = Some(deduplication);
        one
    }

    fn policy(&mut self, opts: &mut Opts) {
        match self.dice.below(6) {
            0 => opts.fail_parent_on_failure = true,
            1 => opts.continue_parent_on_failure = true,
            2 => opts.ignore_dependency_on_failure = true,
            3 => opts.remove_dependency_on_failure = true,
            _ => {}
        }
    }

    /// A child of a job that is there, of a running one most of the time, as handlers add them.
    fn child(&mut self) -> Option<NewOne> {
        let (parent_queue, id) = if self.dice.percent(60) {
            let held = self.dice.one(&self.world.held).cloned();
            held.map(|(queue, held)| (queue, held.id))?
        } else {
            let parent_queue = if self.dice.percent(70) { self.queue } else { self.dice.of(QUEUES) };
            let here = std::mem::replace(&mut self.queue, parent_queue);
            let id = self.any();
            self.queue = here;
            (parent_queue, id?)
        };
        let mut one = self.plain();
        self.policy(&mut one.opts);
        one.opts.parent = Some(Parent { id, queue: format!("bull:{parent_queue}") });
        Some(one)
    }

    fn tree(&mut self, depth: u64) -> Tree {
        let queue = if self.dice.percent(80) { self.queue } else { self.dice.of(QUEUES) };
        let mut job = self.plain();
        // Without one BullMQ makes up a random id.
        let id = if self.dice.percent(6) { self.dice.below(12) } else { self.dice.below(1_000_000) };
        job.opts.job_id = Some(format!("c{id}"));
        if depth > 0 {
            self.policy(&mut job.opts);
        }
        let many = match depth {
            0 => 1 + self.dice.below(3),
            1 if self.dice.percent(25) => 1 + self.dice.below(2),
            _ => 0,
        };
        let children = (0..many).map(|_| self.tree(depth + 1)).collect();
        Tree { job, queue, children }
    }

    // --- attempts ---

    fn settings(&mut self) -> Settings {
        Settings {
            lock: HOUR,
            name: self.dice.of([None, None, Some("node-1")]),
            limiter: self.dice.percent(10).then(|| Rate { max: 2 + self.dice.below(3), duration: HOUR }),
            metrics: u64::from(self.dice.of([0, METRICS])),
        }
    }

    fn finish(&mut self, most: u64) -> Option<What> {
        let mut held = self.held_here(most);
        if self.dice.percent(4) {
            let late = self
                .world
                .stale
                .iter()
                .filter(|(queue, _)| *queue == self.queue)
                .map(|(_, held)| held.clone());
            let late: Vec<Held> = late.filter(|late| held.iter().all(|held| held.id != late.id)).collect();
            held.extend(self.dice.one(&late).cloned());
        }
        if held.is_empty() {
            return None;
        }
        let ends = held.into_iter().map(|held| End { how: self.how(&held), held }).collect();
        let wanted = self.dice.of([0, 0, 1, 1, 2]);
        Some(What::Finish { ends, next: self.world.tokens(wanted), by: self.settings() })
    }

    fn how(&mut self, held: &Held) -> How {
        if let Some(reason) = self.world.field(self.queue, &held.id, "defa")
            && self.dice.percent(80)
        {
            return How::Fail { reason, r#final: true };
        }
        match self.dice.below(100) {
            0..50 => How::Complete { value: self.value() },
            50..72 => How::Fail { reason: format!("broken {}", self.dice.below(9)), r#final: false },
            72..78 => How::Fail { reason: "for good".to_owned(), r#final: true },
            78..84 => How::Delay { until: self.now + self.dice.of([0, 1, 400, 60_000]) },
            84..89 => How::Wait,
            89..92 => How::Rest { ms: HOUR },
            _ => How::Children,
        }
    }

    // --- schedulers ---

    fn scheduler_id(&mut self) -> String {
        format!("s{}", self.dice.below(4))
    }

    fn schedule(&mut self) -> What {
        let id = self.scheduler_id();
        let mut repeat = Repeat::default();
        if self.dice.percent(60) {
            repeat.every = Some(self.dice.of([500, 2_000, 60_000]));
            repeat.offset = self.dice.of([None, None, None, Some(100)]);
        } else {
            repeat.pattern = Some(self.dice.of([
                "*/5 * * * * *",
                "* * * * *",
                "0 30 2 * * *",
                "0 0 1 * *",
                "15 10 * * 1-5",
            ]));
            repeat.tz = self.dice.of([None, None, Some("Europe/Berlin"), Some("America/New_York")]);
            repeat.immediately = self.dice.percent(15);
        }
        repeat.limit = self.dice.of([None, None, None, Some(1), Some(3)]);
        if !repeat.immediately {
            repeat.start_date = self.dice.of([None, None, None, Some(START), Some(self.now + 10_000)]);
        }
        repeat.end_date =
            self.dice.of([None, None, None, Some(self.now + 5_000), Some(self.now + 24 * HOUR)]);
        // One that ends before it starts is refused here, and made by BullMQ.
        repeat.end_date = repeat.end_date.filter(|end| repeat.start_date.is_none_or(|start| start < *end));
        let mut opts = self.ends();
        if self.dice.percent(20) {
            opts.priority = Some(3);
        }
        // BullMQ takes null for none.
        let data = Some(self.value()).filter(|data| !data.is_null());
        What::Schedule { id, repeat, template: Template { name: "tick".to_owned(), data, opts } }
    }
}
