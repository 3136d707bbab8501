//! Our store, told to do the same.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use jobcell_core::schedule::{Rule, Timetable};
use jobcell_core::store::{
    Added, AddedFlow, Claim, ClaimRequest, Finish, Flow, NewJob, Obliterated, Page, Parent, RateLimit,
    Refusal, Removed, SchedulerSpec, Schedulers as _, Series, SeriesPoints, StallPolicy, Token, Verdict,
};
use jobcell_core::{
    Admin, Job, JobId, JobOptions, JobState, Outcome, Policy, QueueName, Store, StoreError, decide,
};
use jobcell_redis::{BullStore, ConnectOptions, Redis, StoreOptions};
use jobcell_tests::RedisServer;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::OURS;
use super::act::{Act, End, Held, How, NewOne, Opts, Rate, Repeat, Settings, Template, Tree, What};

/// How many of each state a look shows, as `differential.mjs` does.
const SHOWN: u64 = 20;

pub(super) struct Ours {
    runtime: Runtime,
    plain: BullStore,
    counting: BullStore,
    /// The jobs as they were claimed, by token.
    held: HashMap<String, Arc<Job>>,
}

/// A step's answer: the value, or the code or message of its error.
type Answer = Result<Value, Value>;

// === impl Ours ===

impl Ours {
    pub(super) fn start(server: &RedisServer) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let options = ConnectOptions::from_url(&format!("{}/{OURS}", server.url())).unwrap();
        let redis = runtime.block_on(Redis::connect(options)).unwrap();
        let store = |minutes| {
            let series = SeriesPoints::all(minutes);
            BullStore::new(redis.clone(), StoreOptions { series })
        };
        Self { plain: store(0), counting: store(METRICS), runtime, held: HashMap::new() }
    }

    /// Forgets what an earlier episode claimed.
    pub(super) fn forget(&mut self) {
        self.held.clear();
    }

    pub(super) fn perform(&mut self, now: u64, act: &Act) -> Value {
        let queue = QueueName::new(act.queue).unwrap();
        let Self { runtime, plain, counting, held } = self;
        let side = Side { plain, counting, queue: &queue, now };
        match runtime.block_on(side.perform(&act.what, held)) {
            Ok(value) => json!({ "ok": value }),
            Err(code) => json!({ "error": code }),
        }
    }
}

/// Minutes of metrics that the counting store keeps.
pub(super) const METRICS: u32 = 5;

struct Side<'a> {
    plain: &'a BullStore,
    counting: &'a BullStore,
    queue: &'a QueueName,
    now: u64,
}

// === impl Side ===

impl Side<'_> {
    async fn perform(&self, what: &What, held: &mut HashMap<String, Arc<Job>>) -> Answer {
        let (store, queue, now) = (self.plain, self.queue, self.now);
        let done = |result: Result<(), StoreError>| result.map(|()| Value::Null).map_err(|e| code(&e));
        match what {
            What::Add { jobs, .. } => {
                let jobs = jobs.iter().map(new_job).collect();
                let added = store.add(queue, jobs, now).await.map_err(|e| code(&e))?;
                Ok(added.iter().map(|added| added.id().as_str()).collect())
            }
            What::Flow { tree } => {
                let added = store.add_flow(flow(tree), now).await.map_err(|e| code(&e))?;
                Ok(flow_ids(&added))
            }
            What::Claim { next, by } => {
                let claim = self.metered(by).claim(queue, &self.request(next, by)).await;
                Ok(told(claim.map_err(|e| code(&e))?, &[], held))
            }
            What::Finish { ends, next, by } => self.finish(ends, next, by, held).await,
            What::Renew { locks, ms } => {
                let locks: Vec<_> = locks.iter().map(|held| (job_id(&held.id), token(&held.token))).collect();
                let lost = store.renew(queue, &locks, Duration::from_millis(*ms)).await;
                Ok(sorted(lost.map_err(|e| code(&e))?.iter().map(JobId::to_string)))
            }
            What::Stall { interval, max } => {
                let policy = StallPolicy { interval: Duration::from_millis(*interval), max: *max };
                let recovered = store.recover_stalled(queue, policy, now).await.map_err(|e| code(&e))?;
                Ok(sorted(recovered.jobs.iter().map(JobId::to_string)))
            }
            What::Progress { id, value } => done(store.set_progress(queue, &job_id(id), text(value)).await),
            What::Log { id, lines, keep } => {
                let count = store.append_logs(queue, &job_id(id), lines, *keep).await;
                count.map(Value::from).map_err(|e| code(&e))
            }
            What::Data { id, value } => done(store.update_data(queue, &job_id(id), text(value)).await),
            What::Pause => done(store.pause(queue).await),
            What::Resume => done(store.resume(queue).await),
            What::Promote { id } => done(store.promote(queue, &job_id(id)).await),
            What::Retry { id, reset, .. } => done(store.retry(queue, &job_id(id), *reset).await),
            What::Drain { delayed } => done(store.drain(queue, *delayed).await.map(drop)),
            What::Look { ids, deduplications, priorities } => {
                self.look(ids, deduplications, priorities).await.map_err(|e| code(&e))
            }
            _ => self.administer(what).await,
        }
    }

    async fn administer(&self, what: &What) -> Answer {
        let (store, queue, now) = (self.plain, self.queue, self.now);
        let done = |result: Result<(), StoreError>| result.map(|()| Value::Null).map_err(|e| code(&e));
        match what {
            What::Remove { id, tree } => {
                let id = job_id(id);
                let removed =
                    if *tree { store.remove_tree(queue, &id).await } else { store.remove(queue, &id).await };
                match removed.map_err(|e| code(&e))? {
                    Removed::Running => Ok(json!(0)),
                    Removed::Scheduled => Err(json!(-8)),
                    // BullMQ does not say that there was none.
                    Removed::Yes | Removed::NotFound => Ok(json!(1)),
                }
            }
            What::Prune { id } => done(store.remove_unprocessed_children(queue, &job_id(id)).await.map(drop)),
            What::Leave { id } => {
                store.leave_parent(queue, &job_id(id)).await.map(Value::from).map_err(|e| code(&e))
            }
            What::Clean { state, grace, limit } => {
                let limit = if *limit == 0 { u64::MAX } else { *limit };
                let cleaned = store.clean(queue, job_state(state), now - grace, limit).await;
                Ok(sorted(cleaned.map_err(|e| code(&e))?.iter().map(JobId::to_string)))
            }
            What::Delay { id, ms } => {
                done(store.change_delay(queue, &job_id(id), Duration::from_millis(*ms), now).await)
            }
            What::Priority { id, priority, front } => {
                done(store.change_priority(queue, &job_id(id), *priority, *front).await)
            }
            What::PromoteAll { .. } => done(store.promote_all(queue, u64::MAX).await.map(drop)),
            What::RetryAll { state, before, .. } => {
                done(store.retry_all(queue, job_state(state), *before, u64::MAX).await.map(drop))
            }
            What::Obliterate { force } => {
                // As BullMQ's own method does.
                store.pause(queue).await.map_err(|e| code(&e))?;
                match store.obliterate(queue, *force).await.map_err(|e| code(&e))? {
                    Obliterated::Yes => Ok(Value::Null),
                    refused => Err(json!(format!("{refused:?}"))),
                }
            }
            What::Concurrency { max } => done(store.set_concurrency(queue, *max).await),
            What::Rate { rate } => done(store.set_rate(queue, rate.map(limit)).await),
            What::Rest { ms } => done(store.rest(queue, ms.map(Duration::from_millis)).await),
            What::Release { deduplication } => {
                let freed = store.release_deduplication(queue, deduplication).await;
                freed.map(Value::from).map_err(|e| code(&e))
            }
            What::Schedule { id, repeat, template } => {
                let scheduled = store.set_scheduler(queue, scheduler(id, repeat, template), now).await;
                scheduled.map(|made| json!({ "job": made.job.as_str() })).map_err(|e| code(&e))
            }
            What::Unschedule { id } => {
                store.remove_scheduler(queue, id).await.map(Value::from).map_err(|e| code(&e))
            }
            other => unreachable!("{other:?} is not for a store"),
        }
    }

    fn metered(&self, by: &Settings) -> &BullStore {
        if by.metrics == 0 { self.plain } else { self.counting }
    }

    fn request(&self, next: &[String], by: &Settings) -> ClaimRequest {
        let (prefix, first) = next.first().and_then(|token| token.split_once(':')).unwrap_or(("none", "0"));
        ClaimRequest {
            max: next.len(),
            token_prefix: prefix.into(),
            token_first: first.parse().unwrap(),
            lock: Duration::from_millis(by.lock),
            worker_name: by.name.map(Into::into),
            rate: by.limiter.map(limit),
            now: self.now,
        }
    }

    async fn finish(
        &self,
        ends: &[End],
        next: &[String],
        by: &Settings,
        held: &mut HashMap<String, Arc<Job>>,
    ) -> Answer {
        let finishes = ends.iter().map(|end| {
            let Held { id, token: own } = &end.held;
            let unknown = || Arc::new(Job::new(job_id(id), "", "{}"));
            let job = held.get(own).cloned().unwrap_or_else(unknown);
            Finish::new(job_id(id), token(own), self.verdict(&job, &end.how))
        });
        let request = (!next.is_empty()).then(|| self.request(next, by));
        let reply = self.metered(by).finish(self.queue, finishes.collect(), request.as_ref(), self.now).await;
        let reply = reply.map_err(|e| code(&e))?;
        Ok(told(reply.claim, &reply.finished, held))
    }

    /// What the job's own options make of an end, by the product's own rules.
    fn verdict(&self, job: &Job, how: &How) -> Verdict {
        let outcome = match how {
            How::Complete { value } => Outcome::Complete(text(value)),
            How::Fail { reason, r#final: true } => Outcome::Fatal(reason.clone()),
            How::Fail { reason, r#final: false } => Outcome::Retry { reason: reason.clone(), after: None },
            // The rules make a give-back of a time that is not ahead; here the store's own word is tested.
            How::Delay { until } => return Verdict::DelayUntil(*until),
            How::Wait => Outcome::Requeue,
            How::Rest { ms } => Outcome::RateLimited(Duration::from_millis(*ms)),
            How::Children => Outcome::WaitForChildren,
        };
        decide(job, &Policy::default(), outcome, self.now, 0.0)
    }

    async fn look(
        &self,
        ids: &[String],
        deduplications: &[String],
        priorities: &[u64],
    ) -> Result<Value, StoreError> {
        let (store, queue) = (self.plain, self.queue);
        let mut ranges = serde_json::Map::new();
        for state in JobState::ALL {
            let name = if state == JobState::Waiting { "wait" } else { state.as_str() };
            let listed = store.list(queue, state, Page::first(SHOWN)).await?;
            ranges.insert(name.to_owned(), listed.iter().map(|job| job.id.as_str()).collect());
        }
        let mut jobs = serde_json::Map::new();
        for id in ids {
            jobs.insert(id.clone(), self.job(&job_id(id)).await?);
        }
        let mut owners = BTreeMap::new();
        for id in deduplications {
            owners.insert(id, store.deduplication_owner(queue, id).await?.map(|owner| owner.to_string()));
        }
        let limits = store.limits(queue).await?;
        let schedulers = store.schedulers(queue, Page::first(SHOWN)).await?;
        Ok(json!({
            "counts": store.counts(queue).await?.0,
            "ranges": ranges,
            "jobs": jobs,
            "owners": owners,
            "paused": limits.paused,
            "concurrency": limits.concurrency,
            "rate": limits.rate.map(|rate| json!([rate.max, rate.per.as_millis() as u64])),
            "rests": limits.rests_for.is_some(),
            "priorities": store.counts_by_priority(queue, priorities).await?,
            "schedulers": schedulers.iter().map(shown_scheduler).collect::<Vec<_>>(),
            "metrics": {
                "completed": series(&store.series(queue, JobState::Completed, Page::first(1000)).await?),
                "failed": series(&store.series(queue, JobState::Failed, Page::first(1000)).await?),
            },
        }))
    }

    async fn job(&self, id: &JobId) -> Result<Value, StoreError> {
        let (store, queue) = (self.plain, self.queue);
        let Some(job) = store.get(queue, id).await? else { return Ok(Value::Null) };
        let mut children = store.children(queue, id, 1000).await?;
        for pairs in [&mut children.completed, &mut children.ignored] {
            pairs.sort();
        }
        children.pending.sort();
        children.failed.sort();
        let completed: Vec<_> =
            children.completed.iter().map(|(key, value)| json!([key, parsed(value.as_bytes())])).collect();
        Ok(json!({
            "state": store.state(queue, id).await?.map_or("unknown", JobState::as_str),
            "name": job.name,
            "data": parsed(&job.data),
            "logs": store.logs(queue, id, Page::first(1000)).await?,
            "made": job.attempts_made,
            "started": job.attempts_started,
            "by": job.processed_by,
            "parent": job.parent_key,
            "scheduler": job.scheduler,
            "deduplication": job.deduplication_id,
            "timestamp": job.timestamp,
            "delay": job.delay,
            "priority": job.priority,
            // BullMQ reads a progress of null as none, which is 0.
            "progress": job.progress.as_deref().map(parsed).filter(|progress| !progress.is_null()).unwrap_or(json!(0)),
            "returnvalue": job.result.as_deref().map_or(Value::Null, parsed),
            "failedReason": job.failed_reason,
            "processedOn": job.processed_on,
            "finishedOn": job.finished_on,
            "stacktrace": job.stacktrace,
            "children": {
                "pending": children.pending, "completed": completed, "ignored": children.ignored,
                "failed": children.failed,
            },
        }))
    }
}

// --- the product's words as BullMQ's ---

fn told(claim: Claim, finished: &[Result<(), Refusal>], held: &mut HashMap<String, Arc<Job>>) -> Value {
    let mut jobs = Vec::new();
    for claimed in claim.jobs {
        let job = claimed.job.expect("a job that was added here can be read");
        jobs.push(json!({
            "id": job.id.as_str(), "name": job.name, "made": job.attempts_made, "started": job.attempts_started,
            "stalled": job.stalled_count, "deferred": job.deferred_failure,
        }));
        held.insert(claimed.token.to_string(), job);
    }
    let none = jobs.is_empty();
    let ended: Vec<i8> =
        finished.iter().map(|end| end.as_ref().map_or_else(|refusal| refused(*refusal), |()| 0)).collect();
    json!({
        "jobs": jobs,
        "limited": none && claim.rate_limited.is_some(),
        "due": claim.next_due.filter(|_| none).unwrap_or(0),
        "ended": ended,
        "errors": [],
    })
}

fn refused(refusal: Refusal) -> i8 {
    match refusal {
        Refusal::Missing => -1,
        Refusal::LockExpired => -2,
        Refusal::NotActive => -3,
        Refusal::PendingChildren => -4,
        Refusal::LockTaken => -6,
        Refusal::FailedChildren => -9,
        Refusal::NothingToWaitFor => 7,
        Refusal::Unwritable => 8,
    }
}

/// BullMQ's code for what went wrong.
fn code(e: &StoreError) -> Value {
    let said = e.to_string();
    match e {
        StoreError::NotFound(_) => json!(-1),
        StoreError::WrongState { .. } => json!(-3),
        StoreError::Rejected(_) if said.contains("parent") && said.contains("does not exist") => json!(-5),
        StoreError::Rejected(_) if said.contains("another parent") => json!(-7),
        StoreError::Rejected(_) if said.contains("is in the way") => json!(-10),
        _ => json!(said),
    }
}

fn new_job(one: &NewOne) -> NewJob {
    let parent = one.opts.parent.as_ref();
    NewJob {
        name: one.name.clone(),
        data: text(&one.data),
        options: options(&one.opts),
        parent: parent.map(|parent| Parent { queue_key: parent.queue.clone(), id: job_id(&parent.id) }),
    }
}

/// BullMQ's public names as it stores them, which is what the product reads.
fn options(opts: &Opts) -> JobOptions {
    let Value::Object(mut public) = json!(opts) else { unreachable!("options are an object") };
    for (name, stored) in [
        ("deduplication", "de"),
        ("keepLogs", "kl"),
        ("failParentOnFailure", "fpof"),
        ("continueParentOnFailure", "cpof"),
        ("ignoreDependencyOnFailure", "idof"),
        ("removeDependencyOnFailure", "rdof"),
    ] {
        if let Some(value) = public.remove(name) {
            public.insert(stored.to_owned(), value);
        }
    }
    serde_json::from_value(Value::Object(public)).unwrap()
}

fn flow(tree: &Tree) -> Flow {
    let queue = QueueName::new(tree.queue).unwrap();
    Flow { queue, job: new_job(&tree.job), children: tree.children.iter().map(flow).collect() }
}

fn flow_ids(added: &AddedFlow) -> Value {
    let id: &Added = &added.added;
    std::iter::once(json!(id.id().as_str())).chain(added.children.iter().map(flow_ids)).collect()
}

fn scheduler(id: &str, repeat: &Repeat, template: &Template) -> SchedulerSpec {
    let rule = match (repeat.every, repeat.pattern) {
        (Some(every), _) => Rule::Every { every, offset: repeat.offset },
        (None, pattern) => Rule::Cron {
            pattern: pattern.unwrap_or_default().to_owned(),
            tz: repeat.tz.map(str::to_owned),
            immediately: repeat.immediately,
        },
    };
    SchedulerSpec {
        id: id.to_owned(),
        timetable: Timetable { rule, start: repeat.start_date, end: repeat.end_date, limit: repeat.limit },
        name: template.name.clone(),
        data: template.data.as_ref().map(text),
        options: options(&template.opts),
    }
}

fn shown_scheduler(scheduler: &jobcell_core::store::Scheduler) -> Value {
    let SchedulerSpec { id, timetable: Timetable { rule, start, end, limit }, name, data, .. } =
        &scheduler.spec;
    let (every, pattern, tz) = match rule {
        Rule::Every { every, .. } => (Some(every), None, None),
        Rule::Cron { pattern, tz, .. } => (None, Some(pattern), tz.as_ref()),
    };
    json!({
        "id": id, "name": name, "next": scheduler.next, "iterations": scheduler.iterations, "every": every,
        "pattern": pattern, "tz": tz, "limit": limit, "start": start, "end": end,
        "data": data.as_deref().map(parsed),
    })
}

fn series(series: &Series) -> Value {
    json!({ "total": series.total, "last": series.last, "points": series.points, "length": series.length })
}

fn job_state(name: &str) -> JobState {
    if matches!(name, "wait" | "paused") { JobState::Waiting } else { name.parse().unwrap() }
}

fn job_id(id: &str) -> JobId {
    JobId::new(id).unwrap()
}

fn token(token: &str) -> Token {
    let (prefix, n) = token.split_once(':').unwrap();
    Token::new(prefix, n.parse().unwrap())
}

fn limit(rate: Rate) -> RateLimit {
    RateLimit { max: rate.max, per: Duration::from_millis(rate.duration) }
}

fn text<T: From<String>>(value: &Value) -> T {
    value.to_string().into()
}

fn parsed(json: &[u8]) -> Value {
    serde_json::from_slice(json).unwrap_or_else(|_| json!(String::from_utf8_lossy(json)))
}

fn sorted(ids: impl Iterator<Item = String>) -> Value {
    let mut ids: Vec<String> = ids.collect();
    ids.sort();
    json!(ids)
}
