//! The end-to-end suites, one module each:
//!
//! - `jobs`: the main job, on both stores, with every command around it;
//! - `interop`: the real BullMQ as producer, observer and fellow worker;
//! - `faults`: what goes wrong in production, and that nothing is lost by it;
//! - `cells`: hostile artifacts and guests, which the program is to hold;
//! - `peers`: the harness against itself, so that a red suite is not the peers' fault.

#![expect(clippy::unwrap_used, reason = "a test program: a panic is how a test fails")]

mod cells;
mod faults;
mod interop;
mod jobs;
mod peers;
mod stage;
