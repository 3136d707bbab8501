//! A service that carries its own job runtime: a Wasm handler and a native one side by side, no server needed.
//!
//! `cargo run --example embed -- target/wasm32-wasip2/guest/basic.wasm`

use std::time::Duration;

use jobcell::{Builder, Ending, Handler, NativeFailure, NativeJob, NewJob, Queue};
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
struct Greet {
    name: String,
}

#[derive(Serialize)]
struct Greeting {
    text: String,
}

/// A native handler: runs inside this program, with its rights.
async fn greet(job: NativeJob) -> Result<Greeting, NativeFailure> {
    let Greet { name } = job.data()?;
    job.log(format!("greeting {name} on attempt {}", job.attempt()));
    Ok(Greeting { text: format!("Hello, {name}!") })
}

fn main() -> anyhow::Result<()> {
    // Lets this program compile handlers in a process of their own, which it is started anew for.
    jobcell::compiler_entry();
    tokio::runtime::Runtime::new()?.block_on(work())
}

async fn work() -> anyhow::Result<()> {
    let wasm = std::env::args().nth(1).unwrap_or_else(|| "target/wasm32-wasip2/guest/basic.wasm".to_owned());
    let directory = std::env::temp_dir().join(format!("jobcell-embed-{}", std::process::id()));

    let runtime = Builder::new()
        .embedded(&directory)
        .handler(Handler::wasm("basic", wasm))
        .native("greeter", greet)
        .queue(Queue::new("work").route("greet", "greeter").route("*", "basic").concurrency(4))
        .start()
        .await?;

    let patience = Duration::from_secs(20);
    for (name, payload) in
        [("greet", r#"{"name":"Ada"}"#), ("noop", r#"{"i":7,"amount":1250,"currency":"EUR"}"#)]
    {
        match runtime.enqueue_and_wait("work", NewJob::new(name, payload), patience).await? {
            Ending::Completed(result) => println!("{name}: {result}"),
            other => anyhow::bail!("{name} did not complete: {other:?}"),
        }
    }

    let shutdown = runtime.shutdown(Duration::from_secs(5)).await;
    println!("shut down; {} jobs given back", shutdown.given_back);
    std::fs::remove_dir_all(&directory)?;
    Ok(())
}
