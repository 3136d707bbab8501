//! The end-to-end suites, one module each:
//!
//! - `jobs`: the main job, on both stores, with every command around it;
//! - `interop`: the real BullMQ as producer, observer and fellow worker;
//! - `dashboard`: its pages in a real browser;
//! - `faults`: what goes wrong in production, and that nothing is lost by it;
//! - `troubles`: every error and trouble that people have with Redis and queues, and what the program says of it;
//! - `handlers`: versions that change while the queue runs;
//! - `cells`: hostile artifacts and guests, which the program is to hold;
//! - `operate`: what operators stand on: metrics, alerts, traces, logs, deployment files, the runbook;
//! - `storage`: blobs over the real S3 protocol;
//! - `examples`: the stories of `examples`, told as their READMEs say;
//! - `deploy`: versions of handlers, from the command line to the job that runs on them;
//! - `hosts`: the fleet, the API while the store is away, the API against its own document;
//! - `peers`: the harness against itself, so that a red suite is not the peers' fault.

#![expect(clippy::unwrap_used, reason = "a test program: a panic is how a test fails")]

mod cells;
mod dashboard;
mod deploy;
mod examples;
mod faults;
mod handlers;
mod hosts;
mod interop;
mod jobs;
mod operate;
mod peers;
mod stage;
mod storage;
mod troubles;
