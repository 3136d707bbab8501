//! Jobcell's store without a server: one directory, one process, nothing to install.
//!
//! Every changing verb is one transaction of an embedded database ([redb]), so a job is never half added, half claimed
//! or half finished, whatever kills the process or the machine. A thread of its own writes: verbs that come at the same
//! time are committed together, with one flush to the disk for all of them, and each caller gets its answer once its
//! change is on disk. Reads go beside the writer and see one whole state. Blobs have files of their own, so that megabytes
//! do not hold up jobs.
//!
//! Locks live in memory. The end of the process voids them, and what it left running is recovered by the first round of
//! stall recovery after the next start.
//!
//! ```no_run
//! use jobcell_core::store::{NewJob, Store};
//! use jobcell_core::{Clock, QueueName, SystemClock};
//! use jobcell_embedded::{EmbeddedOptions, EmbeddedStore};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let store = EmbeddedStore::open(".jobcell", EmbeddedOptions::default())?;
//! let queue = QueueName::new("mail")?;
//! store.add(&queue, vec![NewJob::new("welcome", r#"{"to":"a@example.org"}"#)], SystemClock.now()).await?;
//! store.close().await;
//! # Ok(())
//! # }
//! ```

mod add;
mod admin;
mod blobs;
mod bulk;
mod cache;
mod cancel;
mod children;
mod claim;
mod dedup;
mod documents;
mod error;
mod events;
mod file;
mod finish;
mod flow;
mod keyvalue;
mod limits;
mod locks;
mod moves;
mod open;
mod publish;
mod queue;
mod read;
mod record;
mod rows;
mod schedulers;
mod schema;
mod series;
mod signals;
mod store;
mod tx;
mod workers;
mod writer;

pub use cache::EmbeddedCache;
pub use children::PREFIX;
pub use documents::EmbeddedDocuments;
pub use error::EmbeddedError;
pub use keyvalue::EmbeddedKeyValue;
pub use open::EmbeddedOptions;
pub use publish::{InProcessPublisher, Received, Subscription};
pub use store::EmbeddedStore;
