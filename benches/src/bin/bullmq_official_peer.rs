//! A worker of the `bullmq-official` crate: `bullmq-official-peer URL QUEUE CONCURRENCY`. Prints "ready" and works
//! until it is killed.

use anyhow::Context;
use bullmq::options::{RedisConnectionOptions, WorkerOptions};
use bullmq::{Job, Worker};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let mut arg = |what: &str| args.next().with_context(|| format!("missing argument: {what}"));
    let (url, queue, concurrency) = (arg("URL")?, arg("QUEUE")?, arg("CONCURRENCY")?);
    let options = WorkerOptions {
        connection: RedisConnectionOptions::new().url(url),
        concurrency: concurrency.parse().context("CONCURRENCY")?,
        ..WorkerOptions::default()
    };
    let work =
        |job: Job, _cancelled| async move { Ok(serde_json::json!({ "ok": true, "i": job.data()["i"] })) };
    let worker = Worker::with_options(&queue, work, options).await?;
    println!("ready");
    // Its events pile up unless somebody reads them.
    while worker.next_event().await.is_some() {}
    Ok(())
}
