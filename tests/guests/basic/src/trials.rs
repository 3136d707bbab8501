//! Handlers that do not end well, so that tests see how the host ends them.

use std::hint::black_box;
use std::time::Duration;

use jobcell_sdk::context;
use jobcell_sdk::prelude::*;
use serde::Deserialize;

#[derive(Deserialize)]
pub(crate) struct Message {
    message: String,
}

/// Panics with the payload's message.
#[handler]
pub(crate) fn panic(job: Job<Message>) -> Result<(), Failure> {
    panic!("{}", job.data.message)
}

/// Burns the processor for ever.
#[handler]
pub(crate) fn spin(_job: Job<Raw>) -> Result<u64, Failure> {
    let mut rounds = 0_u64;
    loop {
        rounds = black_box(rounds.wrapping_add(1));
    }
}

/// Calls itself until the engine's stack is full.
#[handler]
pub(crate) fn recurse(_job: Job<Raw>) -> Result<u64, Failure> {
    Ok(deeper(0))
}

/// Keeps everything in locals, and has work left after the call, so that it cannot become a loop.
#[expect(unconditional_recursion, reason = "filling the stack is the point")]
#[inline(never)]
fn deeper(depth: u64) -> u64 {
    deeper(depth.wrapping_add(1)).rotate_left(1) ^ depth
}

/// Calls itself until the guest's own stack is full, the part of its memory where arrays and borrowed values live.
#[handler]
pub(crate) fn recurse_frames(_job: Job<Raw>) -> Result<u64, Failure> {
    Ok(deeper_with_frame(0))
}

#[expect(unconditional_recursion, reason = "filling the stack is the point")]
fn deeper_with_frame(depth: u64) -> u64 {
    let frame = black_box([depth; 512]);
    deeper_with_frame(depth.wrapping_add(1)).wrapping_add(black_box(frame)[0])
}

/// Takes and touches memory until there is no more.
#[handler]
pub(crate) fn grow(_job: Job<Raw>) -> Result<usize, Failure> {
    let mut taken: Vec<Vec<u8>> = Vec::new();
    loop {
        taken.push(black_box(vec![1; 1 << 20]));
    }
}

/// Writes to the log, stdout and stderr without end.
#[handler]
pub(crate) fn flood(_job: Job<Raw>) -> Result<(), Failure> {
    let line = "x".repeat(4096);
    loop {
        context::log(&line);
        println!("{line}");
        eprintln!("{line}");
    }
}

/// Waits politely until it is asked to stop.
#[handler]
pub(crate) fn wait_for_cancel(_job: Job<Raw>) -> Result<&'static str, Failure> {
    while !context::is_cancelled() {
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok("cancelled")
}
