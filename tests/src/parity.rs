//! What the suites show about each client, kept so that the parity table in `docs/bullmq.md` is their result and
//! nobody's claim.
//!
//! A test says what it is about with [`case`] and holds on to the answer; when that is dropped, one line goes to the
//! file named by `JOBCELL_PARITY`. `cargo xtask test` sets it and makes the table. Without it nothing is kept.

use std::fmt;
use std::fs::OpenOptions;
use std::io::Write;
use std::panic::Location;
use std::thread;

use serde_json::json;

use crate::client::Client;

/// A part of BullMQ, in the order of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Area {
    /// Jobs as producers add them.
    Adding,
    /// Deduplication in its modes.
    Deduplication,
    /// What a handler answers.
    Results,
    /// Attempts, backoff, reasons.
    Failing,
    /// Progress, logs and changed payloads.
    Progress,
    /// Which finished jobs stay.
    Keeping,
    /// The event stream.
    Events,
    /// `waitUntilFinished`.
    Waiting,
    /// Getters and counts.
    Getters,
    /// Rates and concurrency.
    Limits,
    /// What others do to a queue while our host works on it.
    Interference,
    /// Pausing, with both majors' ways of it.
    Pausing,
    /// Our own commands, as others see them.
    Administration,
    /// Job schedulers.
    Schedulers,
    /// Parents and children.
    Flows,
    /// Trace context.
    Telemetry,
    /// bull-board.
    Board,
    /// Workers of several kinds on one queue.
    Fleet,
    /// The same steps by both sides, compared key by key.
    Differential,
}

impl fmt::Display for Area {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Adding => "Adding jobs",
            Self::Deduplication => "Deduplication",
            Self::Results => "Results",
            Self::Failing => "Failures and retries",
            Self::Progress => "Progress, logs and payloads",
            Self::Keeping => "Keeping finished jobs",
            Self::Events => "Events",
            Self::Waiting => "Waiting for a result",
            Self::Getters => "Getters",
            Self::Limits => "Limits",
            Self::Interference => "What a client does while Jobcell works",
            Self::Pausing => "Pausing",
            Self::Administration => "What Jobcell's own commands do",
            Self::Schedulers => "Job schedulers",
            Self::Flows => "Flows",
            Self::Telemetry => "Telemetry",
            Self::Board => "bull-board 9.10.2",
            Self::Fleet => "Mixed fleets",
            Self::Differential => "Key by key",
        })
    }
}

/// A case that is being tried; it passed when this is dropped without a panic.
#[must_use = "the case lasts as long as this"]
#[derive(Debug)]
pub struct Case {
    client: Client,
    area: Area,
    sentence: &'static str,
    /// Where it is declared: the order of the table's lines.
    place: (&'static str, u32),
}

/// Says that what follows shows `sentence` about this client. The sentence is a line of the table: it says what
/// happens, in the present, without a full stop.
#[track_caller]
pub fn case(client: Client, area: Area, sentence: &'static str) -> Case {
    let place = Location::caller();
    Case::declared(client, area, sentence, (place.file(), place.line()))
}

impl Case {
    /// Like [`case`], for one that is declared elsewhere.
    pub fn declared(client: Client, area: Area, sentence: &'static str, place: (&'static str, u32)) -> Self {
        Self { client, area, sentence, place }
    }
}

impl Drop for Case {
    fn drop(&mut self) {
        let Some(path) = std::env::var_os("JOBCELL_PARITY") else { return };
        let Self { client, area, sentence, place: (file, line) } = self;
        let line = json!({
            "area": area.to_string(), "area_order": *area as u8,
            "client": client.to_string(), "client_order": *client as u8,
            "sentence": sentence, "file": file, "line": line,
            "passed": !thread::panicking(),
        });
        // One write a line, so that the lines of several threads do not mix.
        let written = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()));
        if let Err(error) = written {
            // Not a panic, which inside a drop would end the program; the missing line fails the table instead.
            eprintln!("{}: {error}", path.display());
        }
    }
}
