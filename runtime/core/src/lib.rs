//! The domain of Jobcell, free of any store, sandbox or network.
//!
//! A *job* is stored work; an *attempt* is one run of it; the *outcome* is what the attempt said. This crate holds
//! those words as types, the pure decision from outcome to what is written back ([`decide()`]), the two seams to the
//! outside — [`Store`], where jobs live, and [`Runner`], what runs one — and the [`worker`] loop between them.
//!
//! Time and randomness are passed in: nothing here reads a clock but through [`Clock`].

pub mod attempt;
pub mod backoff;
pub mod cache;
pub mod clock;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod crash;
pub mod decide;
pub mod documents;
pub mod effects;
pub mod event;
pub mod fleet;
pub mod job;
pub mod keyvalue;
pub mod names;
pub mod options;
pub mod outcome;
pub mod priority;
pub mod publish;
pub mod receipt;
pub mod recordings;
pub mod results;
pub mod runner;
pub mod schedule;
pub mod shadow;
pub mod store;
pub mod tap;
pub mod trace;
pub mod wait;
pub mod worker;

pub use attempt::{Attempt, AttemptIo, Recorded};
pub use clock::{Clock, Millis, SystemClock};

pub use decide::{Policy, ResultForm, decide};
pub use documents::Documents;
pub use event::{Event, Observer};
pub use job::{Job, JobState};
pub use names::{JobId, NameError, QueueName};
pub use options::{Backoff, BackoffKind, JobOptions, Keep};
pub use outcome::{Outcome, StopCause, Stopped};
pub use receipt::{HostCall, Receipt};
pub use runner::{Report, Route, Router, Runner};
pub use store::{Admin, Store, StoreError, Verdict};
