//! Running handlers under plain `cargo test`, against a host that lives in memory. Native targets only.
//!
//! [`Host`] grants nothing until told to, as the real one: an unknown secret, blob store, channel, queue or URL answers
//! `Denied` with the grant that is missing. What is granted works for real — keyed hashes are hashes, cache entries
//! expire by the clock that [`Host::at`] set — and everything that left the handler can be read afterwards.
//!
//! ```
//! use jobcell_sdk::prelude::*;
//! use jobcell_sdk::{cache, testing};
//!
//! #[handler]
//! fn greet(job: Job<String>) -> Result<String, Failure> {
//!     if !cache::set_if_absent(&job.data, b"", None)? {
//!         return Err(Failure::fatal("greeted before"));
//!     }
//!     Ok(format!("hello {}", job.data))
//! }
//!
//! let host = testing::Host::new().cache();
//! assert_eq!(host.run(greet, testing::job("ada".to_owned())), Ok("hello ada".to_owned()));
//! assert_eq!(host.run(greet, testing::job("ada".to_owned())), Err(Failure::fatal("greeted before")));
//! ```

mod host;
mod job;
pub(crate) mod memory;
mod recorded;
mod state;

pub use host::Host;
pub use job::{JobBuilder, bytes, job, json};
pub use recorded::Enqueued;
