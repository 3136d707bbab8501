//! Handlers that answer, each in one of the ways that a handler can.

use std::hint::black_box;
use std::time::Duration;

use jobcell_sdk::prelude::*;
use jobcell_sdk::{context, time};
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
pub(crate) struct Noop {
    i: u64,
}

#[derive(Serialize)]
pub(crate) struct Done {
    ok: bool,
    i: u64,
}

/// The least that a typed handler can do; the benchmarks measure it. Other fields of the payload are ignored.
#[handler]
pub(crate) fn noop(job: Job<Noop>) -> Result<Done, Failure> {
    Ok(Done { ok: true, i: job.data.i })
}

/// The payload comes back byte for byte.
#[handler]
pub(crate) fn echo(job: Job<Raw>) -> Result<Raw, Failure> {
    Ok(job.data)
}

/// Everything that a handler is told about its job, without the payload.
#[derive(Serialize)]
pub(crate) struct Seen {
    id: String,
    queue: String,
    name: String,
    bytes: usize,
    attempt: u32,
    max_attempts: u32,
    starts: u32,
    stalls: u32,
    enqueued_at: u64,
    deadline: u64,
    idempotency_key: String,
    tenant: Option<String>,
    parent: Option<String>,
    headers: Vec<(String, String)>,
}

/// Answers what it was told.
#[handler]
pub(crate) fn job(job: Job<Raw>) -> Result<Seen, Failure> {
    Ok(Seen {
        id: job.id,
        queue: job.queue,
        name: job.name,
        bytes: job.data.0.len(),
        attempt: job.attempt,
        max_attempts: job.max_attempts,
        starts: job.starts,
        stalls: job.stalls,
        enqueued_at: job.enqueued_at,
        deadline: job.deadline,
        idempotency_key: job.idempotency_key,
        tenant: job.tenant,
        parent: job.parent,
        headers: job.headers.into_iter().map(|header| (header.name, header.value)).collect(),
    })
}

/// `{"kind": "retry-after", "message": "…", "ms": 250}`; `message` and `ms` where the kind has them.
#[derive(Deserialize)]
pub(crate) struct Fail {
    kind: Kind,
    #[serde(default)]
    message: String,
    #[serde(default)]
    ms: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    Retry,
    RetryAfter,
    Fatal,
    Invalid,
    RateLimited,
    DelayUntil,
    Requeue,
    WaitForChildren,
    Other,
}

/// Fails in the way that the payload says; `ms` is a delay, or for `delay-until` a time.
#[handler]
pub(crate) fn fail(job: Job<Fail>) -> Result<(), Failure> {
    Err(failure(job.data))
}

#[derive(Serialize)]
pub(crate) struct Run {
    attempt: u32,
    starts: u32,
}

/// Fails like `fail` on the first start only, then answers which attempt and start it is. `ms` counts from now.
#[handler]
pub(crate) fn once(job: Job<Fail>) -> Result<Run, Failure> {
    let mut how = job.data;
    if job.starts > 1 {
        return Ok(Run { attempt: job.attempt, starts: job.starts });
    }
    if matches!(how.kind, Kind::DelayUntil) {
        how.ms += time::now_ms();
    }
    Err(failure(how))
}

fn failure(Fail { kind, message, ms }: Fail) -> Failure {
    match kind {
        Kind::Retry => Failure::Retry(message),
        Kind::RetryAfter => Failure::retry_after(message, Duration::from_millis(ms)),
        Kind::Fatal => Failure::Fatal(message),
        Kind::Invalid => Failure::Invalid(message),
        Kind::RateLimited => Failure::RateLimited(Duration::from_millis(ms)),
        Kind::DelayUntil => Failure::DelayUntil(ms),
        Kind::Requeue => Failure::Requeue,
        Kind::WaitForChildren => Failure::WaitForChildren,
        Kind::Other => Failure::Other(message),
    }
}

#[derive(Deserialize)]
pub(crate) struct Flaky {
    /// The first attempt that succeeds.
    until: u32,
}

/// Fails with a retry before attempt `until`, then answers the attempt.
#[handler]
pub(crate) fn flaky(job: Job<Flaky>) -> Result<u32, Failure> {
    let (attempt, until) = (job.attempt, job.data.until);
    match attempt >= until {
        true => Ok(attempt),
        false => Err(Failure::retry(format!("attempt {attempt} fails, {until} will not"))),
    }
}

#[derive(Deserialize)]
pub(crate) struct Big {
    bytes: usize,
}

/// A JSON text of exactly this many bytes, its quotes included.
#[handler]
pub(crate) fn big(job: Job<Big>) -> Result<Raw, Failure> {
    let mut text = vec![b'x'; job.data.bytes.max(2)];
    let last = text.len() - 1;
    text[0] = b'"';
    text[last] = b'"';
    Ok(Raw(text))
}

/// Bytes that are no JSON and no UTF-8.
#[handler]
pub(crate) fn not_json(_job: Job<Raw>) -> Result<Raw, Failure> {
    Ok(Raw(vec![b'{', 0xff, 0x00, b'}']))
}

#[derive(Deserialize)]
pub(crate) struct Sleep {
    ms: u64,
}

/// Sleeps as ordinary code does, and answers how long that took in milliseconds.
#[handler]
pub(crate) fn sleep(job: Job<Sleep>) -> Result<u64, Failure> {
    let started_ms = time::now_ms();
    std::thread::sleep(Duration::from_millis(job.data.ms));
    Ok(time::now_ms().saturating_sub(started_ms))
}

/// The clock as the guest sees it.
#[handler]
pub(crate) fn now(_job: Job<Raw>) -> Result<u64, Failure> {
    Ok(time::now_ms())
}

#[derive(Deserialize)]
pub(crate) struct Logs {
    lines: u32,
}

/// Writes as many lines to each of stdout, stderr and the job's log.
#[handler]
pub(crate) fn logs(job: Job<Logs>) -> Result<(), Failure> {
    for line in 0..job.data.lines {
        println!("stdout {line}");
        eprintln!("stderr {line}");
        context::log(format!("log {line}"));
    }
    Ok(())
}

#[derive(Deserialize)]
pub(crate) struct Steps {
    steps: u32,
}

#[derive(Serialize)]
struct Progress {
    done: u32,
    total: u32,
}

/// Reports each step, then answers their number.
#[handler]
pub(crate) fn progress(job: Job<Steps>) -> Result<u32, Failure> {
    let total = job.data.steps;
    for done in 1..=total {
        context::progress(&Progress { done, total })?;
    }
    Ok(total)
}

/// Reports 25, 50 and 75 as plain numbers.
#[handler]
pub(crate) fn percent(_job: Job<Raw>) -> Result<(), Failure> {
    for percent in [25, 50, 75] {
        context::progress(&percent)?;
    }
    Ok(())
}

#[derive(Deserialize, Serialize)]
pub(crate) struct Count {
    count: u32,
}

/// Counts its attempts in the payload: fails once after adding one, and answers the count on later attempts.
#[handler]
pub(crate) fn update_data(job: Job<Count>) -> Result<u32, Failure> {
    let count = job.data.count + 1;
    context::update_data(&Count { count })?;
    match job.attempt {
        1 => Err(Failure::retry("the payload was changed; the next attempt sees it")),
        _ => Ok(count),
    }
}

#[derive(Serialize)]
pub(crate) struct Children {
    values: Vec<(String, String)>,
    failures: Vec<(String, String)>,
}

/// Answers the children that are done and those that failed.
#[handler]
pub(crate) fn count_children(_job: Job<Raw>) -> Result<Children, Failure> {
    Ok(Children { values: context::children_values()?, failures: context::children_failures()? })
}

/// Milliseconds left before the deadline.
#[handler]
pub(crate) fn remaining(_job: Job<Raw>) -> Result<u64, Failure> {
    Ok(u64::try_from(context::remaining().as_millis()).unwrap_or(u64::MAX))
}

#[derive(Deserialize)]
pub(crate) struct Rounds {
    rounds: u64,
}

/// Computes for so many rounds: a load that is honest.
#[handler]
pub(crate) fn work(job: Job<Rounds>) -> Result<u64, Failure> {
    Ok((0..job.data.rounds).fold(0_u64, |sum, round| black_box(sum.wrapping_add(round))))
}
