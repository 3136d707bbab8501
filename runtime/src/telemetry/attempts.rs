//! A line of the host's log for each attempt: those that do not succeed at the level `info`, all others at `debug`.
//!
//! Reasons of failures are not in it: they are the handler's words about somebody's data, and stand in the job.

use jobcell_core::event::Event;

/// What `RUST_LOG` calls these lines.
const TARGET: &str = "jobcell::attempt";

pub(super) fn log(event: &Event) {
    let Event::Ended { queue, id, handler, version, outcome, stop, attempt, receipt, trace } = event else {
        return;
    };
    let (stopped_by, trace_id) = (stop.map(|stop| stop.as_str()), trace.map(|trace| trace.to_string()));
    let wall_ms = receipt.wall_us / 1000;
    let computed_by = receipt.computed_by.as_deref();
    macro_rules! line {
        ($level:ident) => {
            tracing::$level!(
                target: TARGET,
                %queue, job = %id, handler, version, attempt, outcome, stopped_by, wall_ms, computed_by, trace_id,
                "attempt ended"
            )
        };
    }
    match *outcome {
        "retry" | "fatal" | "invalid" | "stopped" | "cancelled" => line!(info),
        // It broke, and its job is given back.
        _ if stop.is_some() => line!(info),
        _ => line!(debug),
    }
}
