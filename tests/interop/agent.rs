//! Calls the Rust client of BullMQ on behalf of a test; the requests and replies are those of `agent.mjs`, for the
//! methods that the tests use.
//!
//! ```text
//! bullmq-agent redis://…
//! ```

use std::collections::HashMap;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use bullmq::options::{JobOptions, QueueOptions, RedisConnectionOptions, WorkerOptions};
use bullmq::queue_events::{QueueEvent, QueueEvents, QueueEventsOptions};
use bullmq::{BulkJob, FlowJob, FlowProducer, FlowProducerOptions, Job, JobState, Queue, Worker};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::sync::Mutex;

type Answer = Result<Value, Box<dyn Error + Send + Sync>>;

/// Between two looks at a job that has not ended: the client has no way to be told.
const LOOK: Duration = Duration::from_millis(20);

struct Agent {
    connection: RedisConnectionOptions,
    queues: Mutex<HashMap<String, Queue>>,
    events: Mutex<HashMap<String, Arc<Mutex<Vec<Value>>>>>,
    workers: Mutex<HashMap<String, Arc<Worker>>>,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let url = std::env::args().nth(1).ok_or("missing argument: the server's URL")?;
    let agent = Arc::new(Agent {
        connection: RedisConnectionOptions::new().url(url),
        queues: Mutex::default(),
        events: Mutex::default(),
        workers: Mutex::default(),
    });
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        let request: Value = serde_json::from_str(&line)?;
        let agent = Arc::clone(&agent);
        tokio::spawn(async move {
            let mut reply = match agent.answer(&request).await {
                Ok(ok) => json!({ "ok": ok }),
                Err(error) => json!({ "error": error.to_string() }),
            };
            reply["ticket"] = request["ticket"].clone();
            println!("{reply}");
        });
    }
    Ok(())
}

impl Agent {
    async fn answer(&self, request: &Value) -> Answer {
        let queue = text(&request["queue"]);
        match text(&request["on"]) {
            "version" => Ok(version().into()),
            "queue" => self.on_queue(queue, text(&request["method"]), &request["args"]).await,
            "job" => {
                self.on_job(queue, text(&request["id"]), text(&request["method"]), &request["args"]).await
            }
            "events" => {
                let seen = self.events_of(queue).await?;
                let seen = seen.lock().await;
                Ok(if request["method"] == "seen" { seen.clone().into() } else { Value::Null })
            }
            "finished" => {
                let limit = Duration::from_millis(request["ms"].as_u64().ok_or("ms is a number")?);
                let finished = self.finished(queue, text(&request["id"]));
                tokio::time::timeout(limit, finished).await.map_err(|_| "not finished in time")?
            }
            "worker" => self.on_worker(queue, request).await,
            "flow" => {
                let options = FlowProducerOptions::new().connection(self.connection.clone());
                let node = FlowProducer::with_options(options).await?.add(flow(&request["tree"])?).await?;
                Ok(json!({ "job": shown(&node.job) }))
            }
            other => Err(format!("the Rust agent does not know {other:?}").into()),
        }
    }

    async fn queue(&self, name: &str) -> Result<Queue, bullmq::Error> {
        let mut queues = self.queues.lock().await;
        if let Some(queue) = queues.get(name) {
            return Ok(queue.clone());
        }
        let options = QueueOptions { connection: self.connection.clone(), ..QueueOptions::default() };
        let queue = Queue::with_options(name, options).await?;
        queues.insert(name.to_owned(), queue.clone());
        Ok(queue)
    }

    async fn on_queue(&self, name: &str, method: &str, args: &Value) -> Answer {
        let queue = self.queue(name).await?;
        Ok(match method {
            "add" => {
                let opts: JobOptions = serde_json::from_value(args[2].clone())?;
                shown(&queue.add(text(&args[0]), args[1].clone()).options(opts).await?)
            }
            "addBulk" => {
                let mut jobs = Vec::new();
                for job in args[0].as_array().ok_or("addBulk takes a list")? {
                    jobs.push(BulkJob::new(text(&job["name"]), job["data"].clone()));
                }
                queue.add_bulk(jobs).await?.iter().map(shown).collect()
            }
            "getJob" => queue.get_job(text(&args[0])).await?.as_ref().map_or(Value::Null, shown),
            "getJobCounts" => {
                let types: Vec<&str> = args.as_array().ok_or("a list")?.iter().map(text).collect();
                json!(queue.get_job_counts_by_types(&types).await?)
            }
            "getJobLogs" => {
                let (logs, count) = queue.get_job_logs(text(&args[0]), 0, -1, true).await?;
                json!({ "logs": logs, "count": count })
            }
            "getWorkersCount" => json!(queue.get_workers_count().await?),
            "setGlobalConcurrency" => {
                queue.set_global_concurrency(args[0].as_u64().ok_or("a number")?).await?;
                Value::Null
            }
            "upsertJobScheduler" => {
                let repeat = serde_json::from_value(args[1].clone())?;
                let data = Some(args[3].clone());
                let job =
                    queue.upsert_job_scheduler(text(&args[0]), repeat, args[2].as_str(), data, None).await?;
                job.as_ref().map_or(Value::Null, shown)
            }
            "removeJobScheduler" => json!(queue.remove_job_scheduler(text(&args[0])).await?),
            "pause" => queue.pause().await.map(|()| Value::Null)?,
            "resume" => queue.resume().await.map(|()| Value::Null)?,
            other => return Err(format!("the Rust agent does not know Queue.{other}").into()),
        })
    }

    async fn on_job(&self, queue: &str, id: &str, method: &str, args: &Value) -> Answer {
        let mut job = self.job(queue, id).await?;
        Ok(match method {
            "getState" => json!(job.get_state().await?),
            "promote" => job.promote().await.map(|()| Value::Null)?,
            "retry" => job.retry(text(&args[0]), None).await.map(|()| Value::Null)?,
            other => return Err(format!("the Rust agent does not know Job.{other}").into()),
        })
    }

    async fn job(&self, queue: &str, id: &str) -> Result<Job, Box<dyn Error + Send + Sync>> {
        let job = self.queue(queue).await?.get_job(id).await?;
        job.ok_or_else(|| format!("no job {id} in {queue}").into())
    }

    /// This client has no waitUntilFinished; its getters say the same.
    async fn finished(&self, queue: &str, id: &str) -> Answer {
        loop {
            let job = self.job(queue, id).await?;
            match job.get_state().await? {
                JobState::Completed => {
                    return Ok(serde_json::from_str(self.job(queue, id).await?.returnvalue())?);
                }
                JobState::Failed => return Err(self.job(queue, id).await?.failed_reason().into()),
                _ => tokio::time::sleep(LOOK).await,
            }
        }
    }

    async fn events_of(&self, queue: &str) -> Result<Arc<Mutex<Vec<Value>>>, bullmq::Error> {
        let mut listeners = self.events.lock().await;
        if let Some(seen) = listeners.get(queue) {
            return Ok(Arc::clone(seen));
        }
        // From the first entry on: what is heard does not depend on when the listener came to its first read.
        let options = QueueEventsOptions {
            connection: self.connection.clone(),
            last_event_id: Some("0".to_owned()),
            ..QueueEventsOptions::default()
        };
        let events = QueueEvents::with_options(queue, options).await?;
        let seen = Arc::new(Mutex::new(Vec::new()));
        listeners.insert(queue.to_owned(), Arc::clone(&seen));
        let heard = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Some(entry) = events.next_event().await {
                heard.lock().await.push(event(&entry.event));
            }
        });
        Ok(seen)
    }

    async fn on_worker(&self, queue: &str, request: &Value) -> Answer {
        if request["method"] == "stop" {
            let worker = self.workers.lock().await.remove(queue).ok_or("no such worker")?;
            worker.close(5_000).await?;
            return Ok(Value::Null);
        }
        let settings = &request["args"][0];
        let options = WorkerOptions {
            connection: self.connection.clone(),
            concurrency: settings["concurrency"]
                .as_u64()
                .map_or(1, |slots| usize::try_from(slots).unwrap_or(1)),
            name: settings["name"].as_str().map(str::to_owned),
            ..WorkerOptions::default()
        };
        let work = |job: Job, _cancelled| async move { Ok(json!({ "by": "rust", "i": job.data()["i"] })) };
        let worker = Arc::new(Worker::with_options(queue, work, options).await?);
        self.workers.lock().await.insert(queue.to_owned(), Arc::clone(&worker));
        // Its events pile up unless somebody reads them.
        tokio::spawn(async move { while worker.next_event().await.is_some() {} });
        Ok(Value::Null)
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// A job as Node's client shows one.
fn shown(job: &Job) -> Value {
    json!({
        "id": job.id(),
        "name": job.name(),
        "data": job.data(),
        "opts": job.opts(),
        "progress": job.progress(),
        "attemptsMade": job.attempts_made(),
        "attemptsStarted": job.attempts_started(),
        "timestamp": job.timestamp(),
        "delay": job.delay(),
        "priority": job.priority(),
        "processedOn": job.processed_on(),
        "finishedOn": job.finished_on(),
        "failedReason": job.failed_reason(),
        "returnvalue": serde_json::from_str::<Value>(job.returnvalue()).ok(),
        "processedBy": job.processed_by(),
    })
}

/// An event as Node's listener gives it.
fn event(event: &QueueEvent) -> Value {
    let mut shown = json!({ "event": event.name() });
    if let Some(id) = event.job_id() {
        shown["jobId"] = id.into();
    }
    match event {
        QueueEvent::Waiting { prev: Some(prev), .. } | QueueEvent::Active { prev: Some(prev), .. } => {
            shown["prev"] = prev.as_str().into();
        }
        QueueEvent::Completed { return_value, prev, .. } => {
            shown["returnvalue"] = serde_json::from_str(return_value).unwrap_or_default();
            shown["prev"] = json!(prev);
        }
        QueueEvent::Failed { failed_reason, prev, .. } => {
            shown["failedReason"] = failed_reason.as_str().into();
            shown["prev"] = json!(prev);
        }
        QueueEvent::Delayed { delay, .. } => shown["delay"] = json!(delay),
        QueueEvent::Progress { data, .. } => shown["data"] = data.clone(),
        QueueEvent::RetriesExhausted { attempts_made, .. } => {
            shown["attemptsMade"] = attempts_made.as_str().into();
        }
        QueueEvent::Error { message } => shown["message"] = message.as_str().into(),
        _ => {}
    }
    shown
}

/// A tree such as Node's FlowProducer takes.
fn flow(tree: &Value) -> Result<FlowJob, Box<dyn Error + Send + Sync>> {
    let mut job = FlowJob::new(text(&tree["name"]), text(&tree["queueName"]), tree["data"].clone())?;
    if tree["opts"].is_object() {
        job = job.options(serde_json::from_value(tree["opts"].clone())?);
    }
    for child in tree["children"].as_array().into_iter().flatten() {
        job = job.add_child(flow(child)?);
    }
    Ok(job)
}

/// The release that was compiled in: the crate does not say it, the lock file does.
fn version() -> &'static str {
    let lock = include_str!("../../Cargo.lock");
    let entry = lock.split("\n\n").find(|entry| entry.contains("name = \"bullmq-official\""));
    let line = entry.and_then(|entry| entry.lines().find_map(|line| line.strip_prefix("version = \"")));
    line.map_or("unknown", |version| version.trim_end_matches('"'))
}
