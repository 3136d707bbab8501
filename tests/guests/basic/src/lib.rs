//! A small guest that needs no grant: what it imports is the running job's context and the standards.
//!
//! The host's tests and the benchmarks run it. Handlers that answer are in `answers`, those that put the host's
//! limits to the test in `trials`.

mod answers;
mod trials;

jobcell_sdk::plugin!(
    answers::noop,
    answers::echo,
    answers::job,
    answers::fail,
    answers::once,
    answers::flaky,
    answers::big,
    answers::not_json,
    answers::sleep,
    answers::now,
    answers::logs,
    answers::progress,
    answers::percent,
    answers::update_data,
    answers::count_children,
    answers::remaining,
    answers::work,
    trials::panic,
    trials::spin,
    trials::recurse,
    trials::recurse_frames,
    trials::grow,
    trials::flood,
    trials::wait_for_cancel,
);
