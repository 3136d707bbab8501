//! Random histories against a model: whatever the order of verbs, the store and a plain list of jobs agree.
//!
//! The model says nothing where the protocol does not: due jobs are promoted by a claim, so none is left due when
//! another verb runs; two jobs given back to the front of one priority have no order among themselves, so at most one
//! is there; and finishes have different times, because ties among finished jobs have no order either.
//!
//! A failure prints its seed; `JOBCELL_CONFORMANCE_SEED` repeats it.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::rig::{LOCK, Rig, complete_keep, fail_keep, job_of, ok};
use crate::clock::{Clock, Millis, SystemClock};
use crate::job::JobState;
use crate::names::JobId;
use crate::options::{Keep, KeepLimits};
use crate::store::{ClaimRequest, Claimed, Page, Removed, Verdict};

pub async fn random_histories_agree_with_the_model(rig: Rig) {
    let seed = seed();
    for n in 0..8 {
        History::new(rig.other_queue(&format!("history-{n}")), seed.wrapping_add(n)).run(120).await;
    }
}

pub async fn long_random_history_agrees_with_the_model(rig: Rig) {
    History::new(rig, seed()).run(1200).await;
}

fn seed() -> u64 {
    std::env::var("JOBCELL_CONFORMANCE_SEED").ok().map_or_else(
        || SystemClock.now() ^ u64::from(std::process::id()) << 40,
        |text| text.parse().expect("JOBCELL_CONFORMANCE_SEED is a whole number"),
    )
}

/// Small and repeatable; quality beyond "all over the place" is not needed (xorshift64*).
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from(self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33).unwrap() % n
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        if from.is_empty() { None } else { from.get(self.below(from.len())) }
    }
}

/// What the model knows of a job.
#[derive(Clone)]
struct Known {
    priority: u64,
    lifo: bool,
    made: u64,
    started: u64,
}

/// The queue as plain lists. Jobs are known by their ids.
#[derive(Default)]
struct Model {
    jobs: BTreeMap<JobId, Known>,
    waiting: VecDeque<JobId>,
    /// By priority, then place; place 0 is the front.
    prioritized: BTreeMap<(u64, u64), JobId>,
    /// By due time, then arrival.
    delayed: BTreeMap<(Millis, u64), JobId>,
    active: Vec<Claimed>,
    /// Newest last.
    completed: Vec<JobId>,
    failed: Vec<JobId>,
    paused: bool,
    arrivals: u64,
}

impl Model {
    fn next(&mut self) -> u64 {
        self.arrivals += 1;
        self.arrivals
    }

    fn put(&mut self, id: JobId, front: bool) {
        match (self.jobs[&id].priority, front) {
            (0, true) => self.waiting.push_front(id),
            (0, false) => self.waiting.push_back(id),
            (priority, _) => {
                let place = self.next();
                self.prioritized.insert((priority, place), id);
            }
        }
    }

    fn put_back(&mut self, id: JobId) {
        match self.jobs[&id].priority {
            0 => self.waiting.push_front(id),
            priority => {
                let taken = self.prioritized.insert((priority, 0), id);
                assert!(taken.is_none(), "the history was to avoid this");
            }
        }
    }

    fn delay(&mut self, id: JobId, due: Millis) {
        let place = self.next();
        self.delayed.insert((due, place), id);
    }

    fn due(&self, now: Millis) -> bool {
        self.delayed.keys().next().is_some_and(|(due, _)| *due <= now)
    }

    fn claim(&mut self, max: usize, now: Millis) -> Vec<JobId> {
        while let Some(first) = self.delayed.first_entry() {
            if first.key().0 > now {
                break;
            }
            let id = first.remove();
            self.put(id, false);
        }
        let mut taken = Vec::new();
        while !self.paused && taken.len() < max {
            let next = self.waiting.pop_front().or_else(|| self.prioritized.pop_first().map(|(_, id)| id));
            let Some(id) = next else { break };
            if let Some(job) = self.jobs.get_mut(&id) {
                job.started += 1;
            }
            taken.push(id);
        }
        taken
    }

    fn end(&mut self, id: JobId, completed: bool, keep: &Keep) {
        let list = if completed { &mut self.completed } else { &mut self.failed };
        match keep {
            Keep::None => {
                self.jobs.remove(&id);
            }
            Keep::All => list.push(id),
            Keep::UpTo(limits) => {
                list.push(id);
                let count = usize::try_from(limits.count.unwrap()).unwrap();
                for gone in list.drain(..list.len().saturating_sub(count)) {
                    self.jobs.remove(&gone);
                }
            }
        }
    }

    fn list(&self, state: JobState) -> Vec<JobId> {
        match state {
            JobState::Waiting => self.waiting.iter().cloned().collect(),
            JobState::Prioritized => self.prioritized.values().cloned().collect(),
            JobState::Delayed => self.delayed.values().cloned().collect(),
            JobState::Active => self.active.iter().map(|c| c.id.clone()).collect(),
            JobState::Completed => self.completed.iter().rev().cloned().collect(),
            JobState::Failed => self.failed.iter().rev().cloned().collect(),
            JobState::WaitingChildren => Vec::new(),
        }
    }
}

struct History {
    rig: Rig,
    model: Model,
    dice: Dice,
    seed: u64,
    now: Millis,
    tokens: u64,
    steps: Vec<String>,
}

impl History {
    fn new(rig: Rig, seed: u64) -> Self {
        let dice = Dice(seed | 1);
        Self {
            rig,
            model: Model::default(),
            dice,
            seed,
            now: SystemClock.now(),
            tokens: 0,
            steps: Vec::new(),
        }
    }

    async fn run(mut self, steps: usize) {
        for step in 0..steps {
            self.tick().await;
            match self.dice.below(20) {
                0..=5 => self.add().await,
                6..=8 => self.claim().await,
                9..=14 => self.finish().await,
                15 => self.promote().await,
                16 => self.retry().await,
                17 => self.remove().await,
                18 => self.toggle_pause().await,
                _ => self.leap_or_drain().await,
            }
            self.check_counts().await;
            if step % 16 == 0 {
                self.check_lists().await;
            }
        }
        self.check_lists().await;
    }

    fn expect<T: PartialEq + std::fmt::Debug>(&self, what: &str, store: &T, model: &T) {
        if store != model {
            let tail = self.steps[self.steps.len().saturating_sub(25)..].join("\n  ");
            panic!(
                "{what}: the store says {store:?}, the model {model:?}\nseed {}; the last steps:\n  {tail}",
                self.seed
            );
        }
    }

    fn note(&mut self, step: String) {
        self.steps.push(format!("{} @{} {step}", self.steps.len(), self.now));
    }

    /// Time goes on; what became due is promoted before anything else happens.
    async fn tick(&mut self) {
        self.now += 1;
        if self.model.due(self.now) {
            if self.model.paused {
                self.toggle_pause().await;
            }
            self.claim().await;
        }
    }

    fn request(&mut self, max: usize) -> ClaimRequest {
        self.tokens += max as u64;
        ClaimRequest {
            max,
            token_prefix: "model".into(),
            token_first: self.tokens,
            lock: LOCK,
            worker_name: None,
            rate: None,
            now: self.now,
        }
    }

    async fn add(&mut self) {
        let mut jobs = Vec::new();
        for _ in 0..=self.dice.below(3) {
            let mut job = Rig::new_job("n");
            match self.dice.below(5) {
                0 => job.options.lifo = true,
                1 => job.options.delay = 1 + self.dice.below(40) as u64,
                2 => job.options.priority = 1 + self.dice.below(3) as u64,
                3 => {
                    job.options.delay = 1 + self.dice.below(40) as u64;
                    job.options.priority = 1 + self.dice.below(3) as u64;
                }
                _ => {}
            }
            jobs.push(job);
        }
        let added = ok!(self.rig.store.add(&self.rig.queue, jobs.clone(), self.now));
        for (job, added) in jobs.iter().zip(&added) {
            let id = added.id().clone();
            let (delay, priority, lifo) = (job.options.delay, job.options.priority, job.options.lifo);
            self.note(format!("add {id} delay {delay} priority {priority} lifo {lifo}"));
            self.model.jobs.insert(id.clone(), Known { priority, lifo, made: 0, started: 0 });
            if delay > 0 {
                self.model.delay(id, self.now + delay);
            } else {
                self.model.put(id, lifo);
            }
        }
    }

    async fn claim(&mut self) {
        let max = 1 + self.dice.below(4);
        let request = self.request(max);
        let claim = ok!(self.rig.store.claim(&self.rig.queue, &request));
        self.claimed(max, claim.jobs);
    }

    fn claimed(&mut self, max: usize, jobs: Vec<Claimed>) {
        let ids: Vec<JobId> = jobs.iter().map(|c| c.id.clone()).collect();
        self.note(format!("claim {max} gave {ids:?}"));
        let expected = self.model.claim(max, self.now);
        self.expect("claimed", &ids, &expected);
        for claimed in jobs {
            let known = self.model.jobs[&claimed.id].clone();
            let job = job_of(&claimed);
            self.expect("attempts", &(job.attempts_made, job.attempts_started), &(known.made, known.started));
            self.model.active.push(claimed);
        }
    }

    async fn finish(&mut self) {
        if self.model.active.is_empty() {
            return;
        }
        let place = self.dice.below(self.model.active.len());
        let claimed = self.model.active.remove(place);
        let verdict = self.verdict(&claimed.id);
        self.note(format!("finish {} with {verdict:?}", claimed.id));
        self.apply(&claimed.id, &verdict);
        let finishes = vec![Rig::ending(&claimed, verdict)];
        if self.dice.below(2) == 0 {
            let reply = ok!(self.rig.store.finish(&self.rig.queue, finishes, None, self.now));
            self.expect("finished", &reply.finished, &vec![Ok(())]);
        } else {
            let max = 1 + self.dice.below(3);
            let request = self.request(max);
            let reply = ok!(self.rig.store.finish(&self.rig.queue, finishes, Some(&request), self.now));
            self.expect("finished", &reply.finished, &vec![Ok(())]);
            self.claimed(max, reply.claim.jobs);
        }
    }

    fn verdict(&mut self, id: &JobId) -> Verdict {
        let keep = match self.dice.below(4) {
            0 => Keep::None,
            1 => {
                Keep::UpTo(KeepLimits { count: Some(1 + self.dice.below(4) as u64), ..KeepLimits::default() })
            }
            _ => Keep::All,
        };
        let front = (self.model.jobs[id].priority, 0);
        match self.dice.below(8) {
            0 => fail_keep("bad", keep),
            1 => Verdict::DelayUntil(self.now + 1 + self.dice.below(40) as u64),
            2 if !self.model.prioritized.contains_key(&front) => Verdict::Release,
            3 | 4 => Verdict::Retry {
                reason: "again".into(),
                stacktrace: Vec::new(),
                delay: Duration::from_millis([0, 0, 7, 30][self.dice.below(4)]),
                lifo: self.dice.below(2) == 0,
            },
            _ => complete_keep(keep),
        }
    }

    fn apply(&mut self, id: &JobId, verdict: &Verdict) {
        let uses_an_attempt =
            matches!(verdict, Verdict::Complete { .. } | Verdict::Fail { .. } | Verdict::Retry { .. });
        if let Some(job) = self.model.jobs.get_mut(id).filter(|_| uses_an_attempt) {
            job.made += 1;
        }
        let id = id.clone();
        match verdict {
            Verdict::Complete { keep, .. } => self.model.end(id, true, keep),
            Verdict::Fail { keep, .. } => self.model.end(id, false, keep),
            Verdict::Retry { delay, lifo, .. } if delay.is_zero() => self.model.put(id, *lifo),
            Verdict::Retry { delay, .. } => {
                self.model.delay(id, self.now + u64::try_from(delay.as_millis()).unwrap());
            }
            Verdict::DelayUntil(due) => self.model.delay(id, *due),
            Verdict::Release => self.model.put_back(id),
            Verdict::RateLimit(_) | Verdict::WaitForChildren => unreachable!("the history has none"),
        }
    }

    async fn promote(&mut self) {
        let keys: Vec<(Millis, u64)> = self.model.delayed.keys().copied().collect();
        let Some(key) = self.dice.pick(&keys) else { return };
        let id = self.model.delayed.remove(key).unwrap();
        self.note(format!("promote {id}"));
        ok!(self.rig.store.promote(&self.rig.queue, &id));
        self.model.put(id, false);
    }

    async fn retry(&mut self) {
        let completed = self.dice.below(2) == 0;
        let list = if completed { &mut self.model.completed } else { &mut self.model.failed };
        // Whether a job that was added to the front is retried there is left to the store.
        let plain: Vec<usize> = (0..list.len()).filter(|n| !self.model.jobs[&list[*n]].lifo).collect();
        let Some(place) = self.dice.pick(&plain) else { return };
        let id = list.remove(*place);
        let reset = self.dice.below(2) == 0;
        self.note(format!("retry {id} reset {reset}"));
        ok!(self.rig.store.retry(&self.rig.queue, &id, reset));
        let job = self.model.jobs.get_mut(&id).unwrap();
        if reset {
            (job.made, job.started) = (0, 0);
        }
        self.model.put(id, false);
    }

    async fn remove(&mut self) {
        let ids: Vec<JobId> = self.model.jobs.keys().cloned().collect();
        let Some(id) = self.dice.pick(&ids).cloned() else { return };
        self.note(format!("remove {id}"));
        let removed = ok!(self.rig.store.remove(&self.rig.queue, &id));
        if self.model.active.iter().any(|c| c.id == id) {
            self.expect("removed", &removed, &Removed::Running);
            return;
        }
        self.expect("removed", &removed, &Removed::Yes);
        let model = &mut self.model;
        model.jobs.remove(&id);
        model.waiting.retain(|other| *other != id);
        model.prioritized.retain(|_, other| *other != id);
        model.delayed.retain(|_, other| *other != id);
        model.completed.retain(|other| *other != id);
        model.failed.retain(|other| *other != id);
    }

    async fn toggle_pause(&mut self) {
        self.note(format!("pause {}", !self.model.paused));
        if self.model.paused {
            ok!(self.rig.store.resume(&self.rig.queue));
        } else {
            ok!(self.rig.store.pause(&self.rig.queue));
        }
        self.model.paused = !self.model.paused;
        self.expect("paused", &ok!(self.rig.store.is_paused(&self.rig.queue)), &self.model.paused);
    }

    /// A jump of the clock, often; emptying the queue, seldom.
    async fn leap_or_drain(&mut self) {
        if self.dice.below(10) > 0 {
            self.now += self.dice.below(30) as u64;
            return self.tick().await;
        }
        let delayed = self.dice.below(2) == 0;
        self.note(format!("drain, delayed ones too: {delayed}"));
        let drained = ok!(self.rig.store.drain(&self.rig.queue, delayed));
        let mut gone: Vec<JobId> = self.model.waiting.drain(..).collect();
        gone.extend(std::mem::take(&mut self.model.prioritized).into_values());
        if delayed {
            gone.extend(std::mem::take(&mut self.model.delayed).into_values());
        }
        self.expect("drained", &drained, &(gone.len() as u64));
        for id in gone {
            self.model.jobs.remove(&id);
        }
    }

    async fn check_counts(&self) {
        let counts = ok!(self.rig.store.counts(&self.rig.queue));
        for state in JobState::ALL {
            self.expect(state.as_str(), &counts.get(state), &(self.model.list(state).len() as u64));
        }
    }

    async fn check_lists(&self) {
        for state in JobState::ALL {
            let jobs = ok!(self.rig.store.list(&self.rig.queue, state, Page::first(1000)));
            let mut ids: Vec<JobId> = jobs.iter().map(|job| job.id.clone()).collect();
            let mut expected = self.model.list(state);
            if state == JobState::Active {
                ids.sort();
                expected.sort();
            }
            self.expect(state.as_str(), &ids, &expected);
            for job in &jobs {
                let known = &self.model.jobs[&job.id];
                let (made, started) = (known.made, known.started);
                self.expect("attempts", &(job.attempts_made, job.attempts_started), &(made, started));
                let found = ok!(self.rig.store.state(&self.rig.queue, &job.id));
                self.expect("state", &found, &Some(state));
            }
        }
    }
}
