//! Runs plans on both sides, and finds the shortest one that shows a difference.

use std::time::{Duration, Instant};

use jobcell_tests::{RedisServer, Resp};
use serde_json::Value;

use super::act::{Act, What};
use super::choose::choose;
use super::keys::{differences, of_answer, stock};
use super::known::{self, Leeway};
use super::ours::Ours;
use super::plan::{START, Step};
use super::theirs::Theirs;
use super::world::World;
use super::{Major, OURS, QUEUES, THEIRS};

/// Steps between two looks at the databases.
const STRIDE: usize = 20;
/// How long a difference is made smaller.
const SHRINKING: Duration = Duration::from_secs(60);
/// The last steps that are printed.
const PRINTED: usize = 60;

pub(super) struct Pair {
    major: Major,
    theirs: Theirs,
    ours: Ours,
    world: World,
    databases: [Resp; 2],
    // Last, so that it ends after those who use it.
    _server: RedisServer,
}

/// The first difference of a run.
struct Difference {
    /// The steps up to it, by number.
    steps: usize,
    told: Vec<String>,
}

/// What a run has done.
#[derive(Default)]
struct Done {
    acts: Vec<(u64, Act, Value)>,
}

// === impl Pair ===

impl Pair {
    pub(super) fn start(major: Major) -> Self {
        let server = RedisServer::start();
        let databases = [THEIRS, OURS].map(|database| {
            let mut redis = server.client();
            redis.run(&["SELECT", &database.to_string()]);
            redis
        });
        Self {
            major,
            theirs: Theirs::start(major, &server),
            ours: Ours::start(&server),
            world: World::new(major, &server),
            databases,
            _server: server,
        }
    }

    /// Runs a plan. Returns how many of its steps did something.
    ///
    /// # Errors
    /// A report of the shortest plan that differs.
    pub(super) fn run(&mut self, plan: &[Step]) -> Result<usize, String> {
        let mut done = Done::default();
        let Err(difference) = self.compare(plan, STRIDE, &mut done) else { return Ok(done.acts.len()) };
        // Where exactly: the same again, with a look after each step.
        let mut plan = plan[..difference.steps].to_vec();
        if let Err(first) = self.compare(&plan, 1, &mut Done::default()) {
            plan.truncate(first.steps);
        }
        let plan = self.shrink(plan);
        let mut done = Done::default();
        let told = match self.compare(&plan, 1, &mut done) {
            Err(difference) => difference.told,
            Ok(()) => vec!["it does not differ again: something is not told by the plan".to_owned()],
        };
        Err(report(&done, &told))
    }

    fn compare(&mut self, plan: &[Step], stride: usize, done: &mut Done) -> Result<(), Difference> {
        self.reset();
        for (i, step) in plan.iter().enumerate() {
            let act = choose(&mut self.world, *step);
            let leeway = act.as_ref().map_or(Leeway::None, known::leeway);
            let loose = leeway != Leeway::None;
            let differs = |told: Vec<String>| {
                if told.is_empty() { Ok(()) } else { Err(Difference { steps: i + 1, told }) }
            };
            if loose {
                differs(self.look(Leeway::None))?;
            }
            if let Some(act) = act {
                differs(self.step(step.now, act, done))?;
            }
            if loose || (i + 1) % stride == 0 || i + 1 == plan.len() {
                differs(self.look(leeway))?;
            }
        }
        Ok(())
    }

    fn reset(&mut self) {
        self.databases.iter_mut().for_each(|redis| drop(redis.run(&["FLUSHDB"])));
        self.settle_in();
        self.theirs.ask(START, &Act { queue: QUEUES[0], what: What::Forget });
        assert_eq!(self.theirs.answer()["ok"], Value::Null);
        self.ours.forget();
        self.world.forget();
    }

    /// What BullMQ's producers write on connecting, by which we know how they pause.
    fn settle_in(&mut self) {
        let version = match self.major {
            Major::Five => "bullmq:5.81.5",
            Major::Six => "bullmq:6.7.0",
        };
        for redis in &mut self.databases {
            for queue in QUEUES {
                redis.run(&["HSET", &format!("bull:{queue}:meta"), "version", version]);
            }
        }
    }

    fn step(&mut self, now: u64, act: Act, done: &mut Done) -> Vec<String> {
        if let What::Expire { keys } = &act.what {
            self.on_both(&[vec!["DEL".to_owned()], keys.clone()].concat());
            done.acts.push((now, act, Value::Null));
            return Vec::new();
        }
        self.theirs.ask(now, &act);
        let ours = self.ours.perform(now, &act);
        let mut theirs = self.theirs.answer();
        self.world.learn(&act, &ours);
        let said = theirs.as_object_mut().and_then(|answer| answer.remove("said"));
        let (mut a, mut b) = (of_answer(&theirs), of_answer(&ours));
        known::level_answers(&act, &mut a, &mut b);
        let mut told = differences(&a, &b);
        if !told.is_empty() {
            told.extend(said.map(|said| format!("bullmq says {said}")));
        }
        for command in known::even(&mut self.world, &act, &ours) {
            self.on_both(&command);
        }
        if matches!(act.what, What::Obliterate { .. }) {
            self.settle_in();
        }
        done.acts.push((now, act, ours));
        told
    }

    fn on_both(&mut self, command: &[String]) {
        let words: Vec<&str> = command.iter().map(String::as_str).collect();
        self.databases.iter_mut().for_each(|redis| drop(redis.run(&words)));
    }

    fn look(&mut self, leeway: Leeway) -> Vec<String> {
        let [theirs, ours] = &mut self.databases;
        let (mut theirs, mut ours) = (stock(theirs), stock(ours));
        known::level(&mut theirs, &mut ours, leeway, self.major);
        differences(&theirs, &ours)
    }

    /// Leaves out steps as long as it still differs.
    fn shrink(&mut self, mut plan: Vec<Step>) -> Vec<Step> {
        let end = Instant::now() + SHRINKING;
        let mut part = plan.len() / 2;
        while part > 0 {
            let mut at = 0;
            while at < plan.len() {
                if Instant::now() > end {
                    return plan;
                }
                let mut fewer = plan.clone();
                fewer.drain(at..(at + part).min(plan.len()));
                match self.compare(&fewer, STRIDE, &mut Done::default()) {
                    Err(difference) => {
                        fewer.truncate(difference.steps);
                        plan = fewer;
                    }
                    Ok(()) => at += part,
                }
            }
            part /= 2;
        }
        plan
    }
}

fn report(done: &Done, told: &[String]) -> String {
    let skipped = done.acts.len().saturating_sub(PRINTED);
    let mut lines = vec![format!("the shortest sequence found that differs ({} steps):", done.acts.len())];
    for (i, (now, act, answer)) in done.acts.iter().enumerate().skip(skipped) {
        let act = serde_json::to_string(act).expect("a step is JSON");
        lines.push(format!("{i:3} at {:>8} ms {act}\n        -> {answer}", now - START));
    }
    lines.push("the difference:".to_owned());
    lines.extend(told.iter().map(|line| format!("  {line}")));
    lines.join("\n")
}
