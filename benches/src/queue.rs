//! The queue that is measured: filled, opened, watched until it is empty.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use redis::Script;
use redis::aio::MultiplexedConnection;
use tokio::time::Instant;

/// Its name, the same for every peer.
pub(crate) const QUEUE: &str = "bench";
/// What its keys begin with.
pub(crate) const PREFIX: &str = "bull:bench:";
/// The payload; `@` is the job's number.
pub(crate) const PAYLOAD: &str = r#"{"i":@,"amount":1250,"currency":"EUR"}"#;

const ADD: &str = include_str!("../scripts/add.lua");
/// Jobs a call of the script: short enough that Redis answers others meanwhile.
const CHUNK: u64 = 1_000;
/// A peer that has not worked the queue off by then never will.
const LIMIT: Duration = Duration::from_secs(300);

/// The add script.
pub(crate) fn add_script() -> Script {
    Script::new(ADD)
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

/// Empties the server and puts so many jobs on the paused queue.
pub(crate) async fn fill(
    connection: &mut MultiplexedConnection,
    name: &str,
    payload: &str,
    jobs: u64,
) -> anyhow::Result<()> {
    redis::cmd("FLUSHALL").query_async::<()>(connection).await?;
    redis::cmd("CONFIG").arg("RESETSTAT").query_async::<()>(connection).await?;
    let meta = format!("{PREFIX}meta");
    let fields = [("paused", "1"), ("version", "bullmq:6.7.0"), ("opts.maxLenEvents", "10000")];
    redis::cmd("HSET").arg(meta).arg(&fields[..]).query_async::<()>(connection).await?;
    let mut left = jobs;
    while left > 0 {
        let chunk = left.min(CHUNK);
        add(connection, name, payload, chunk).await?;
        left -= chunk;
    }
    Ok(())
}

/// Puts so many jobs on the queue at once.
pub(crate) async fn add(
    connection: &mut MultiplexedConnection,
    name: &str,
    payload: &str,
    jobs: u64,
) -> anyhow::Result<()> {
    let script = add_script();
    let mut call = script.prepare_invoke();
    call.key(PREFIX).arg(jobs).arg(now_ms()).arg(name).arg(payload);
    call.invoke_async::<String>(connection).await.context("adding jobs").map(drop)
}

/// Ends the pause and wakes whoever waits.
pub(crate) async fn open(connection: &mut MultiplexedConnection) -> anyhow::Result<()> {
    let mut both = redis::pipe();
    both.atomic().hdel(format!("{PREFIX}meta"), "paused").ignore();
    both.zadd(format!("{PREFIX}marker"), "0", 0).ignore();
    both.query_async::<()>(connection).await.context("opening the queue")
}

/// Waits until so many jobs are completed.
pub(crate) async fn wait_completed(connection: &mut MultiplexedConnection, jobs: u64) -> anyhow::Result<()> {
    wait_for(connection, "ZCARD", &format!("{PREFIX}completed"), jobs).await
}

/// Waits until so many jobs run at once.
pub(crate) async fn wait_active(connection: &mut MultiplexedConnection, jobs: u64) -> anyhow::Result<()> {
    wait_for(connection, "LLEN", &format!("{PREFIX}active"), jobs).await
}

async fn wait_for(
    connection: &mut MultiplexedConnection,
    command: &str,
    key: &str,
    count: u64,
) -> anyhow::Result<()> {
    let end = Instant::now() + LIMIT;
    loop {
        let now: u64 = redis::cmd(command).arg(key).query_async(connection).await?;
        if now >= count {
            return Ok(());
        }
        if Instant::now() > end {
            bail!("{command} {key} is {now} after {LIMIT:?}, not {count}");
        }
        // Seldom enough to cost nothing; the times come from the jobs themselves.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Seconds from the first job's start to the last job's end, as the jobs' own times say.
pub(crate) async fn span_secs(connection: &mut MultiplexedConnection) -> anyhow::Result<f64> {
    let completed = format!("{PREFIX}completed");
    let last: Vec<(String, f64)> = redis::cmd("ZRANGE")
        .arg(&completed)
        .arg(-1)
        .arg(-1)
        .arg("WITHSCORES")
        .query_async(connection)
        .await?;
    let first: Vec<String> =
        redis::cmd("ZRANGE").arg(&completed).arg(0).arg(99).query_async(connection).await?;
    let mut started = f64::INFINITY;
    for id in first {
        let time: f64 = redis::cmd("HGET")
            .arg(format!("{PREFIX}{id}"))
            .arg("processedOn")
            .query_async(connection)
            .await?;
        started = started.min(time);
    }
    let ended = last.first().map(|(_, score)| *score).context("nothing is completed")?;
    Ok((ended - started).max(1.0) / 1_000.0)
}

/// Fails when a completed job has another result than it must have.
pub(crate) async fn check_result(connection: &mut MultiplexedConnection, id: u64) -> anyhow::Result<()> {
    let result: String =
        redis::cmd("HGET").arg(format!("{PREFIX}{id}")).arg("returnvalue").query_async(connection).await?;
    let expected = format!(r#"{{"ok":true,"i":{id}}}"#);
    // Serialisers order members differently; all results are two members of one line.
    let swapped = format!(r#"{{"i":{id},"ok":true}}"#);
    if result != expected && result != swapped {
        bail!("job {id} has the result {result}, not {expected}");
    }
    Ok(())
}
