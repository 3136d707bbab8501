//! A job runtime: pops jobs from Redis queues (BullMQ's layout) or an embedded store, and runs each in a fresh
//! WebAssembly sandbox made from a handler plugin.
//!
//! This crate is the library for embedding and the `jobcell` binary over it. [`Builder`] puts a host together:
//!
//! ```no_run
//! use jobcell::{Builder, Handler, NewJob, Queue};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let runtime = Builder::new()
//!     .redis("redis://127.0.0.1:6379")
//!     .handler(Handler::wasm("media", "handlers/media.wasm"))
//!     .queue(Queue::new("media").to("media").concurrency(8))
//!     .start()
//!     .await?;
//! let id = runtime.enqueue("media", NewJob::new("inspect", r#"{"source":{"blob":{"store":"uploads","key":"a.jpg"}}}"#)).await?;
//! # let _ = id;
//! runtime.shutdown(std::time::Duration::from_secs(25)).await;
//! # Ok(())
//! # }
//! ```
//!
//! Handlers are compiled in a process of their own, so that one which is shaped to exhaust the compiler cannot exhaust
//! the host. That process is the embedding program, started anew: call [`compiler_entry`] first of all in `main`. A
//! program that does not compiles in its own process and says so once.

#[doc(hidden)]
pub mod attack;
#[doc(hidden)]
pub mod cli;
pub mod config;

mod builder;
mod calm;
mod configured;
#[doc(hidden)]
pub mod diagnose;
mod explain;
mod fleet;
#[doc(hidden)]
pub mod fuzzing;
mod handler;
#[doc(hidden)]
pub mod host;
mod inspecting;
#[doc(hidden)]
pub mod invoke;
mod loader;
mod narrowing;
mod native;
mod project;
mod queue;
#[doc(hidden)]
pub mod replay;
mod runtime;
mod spool;
mod stores;
mod telemetry;
mod versions;

pub use builder::{Builder, StartError};
pub use handler::Handler;
pub use jobcell_core::recordings::Record;
pub use jobcell_core::store::{AddedFlow, Flow, NewJob, Parent};
pub use jobcell_core::wait::Ending;
pub use jobcell_core::{Backoff, BackoffKind, Event, JobId, JobOptions, Keep, Observer};
pub use jobcell_redis::ListOptions;
pub use jobcell_wasm::{
    Compiler, CompilerProcess, EngineConfig, Grants, HttpLimits, HttpRule, HttpSender, Limits, Resolver,
    RuleSecret, SecretGrant, compiler_entry,
};
pub use native::{NativeFailure, NativeJob};
pub use queue::Queue;
pub use runtime::{Runtime, RuntimeError, Shutdown};
pub use stores::{OpenError, OpenStore};
