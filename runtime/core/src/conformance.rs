//! The behaviour every store must have, as tests that each adapter runs on itself.
//!
//! An adapter's test file is a function that makes an empty store, and one line:
//!
//! ```text
//! use jobcell_core::conformance::Fixture;
//!
//! async fn fresh() -> Fixture {
//!     let dir = tempfile::tempdir().unwrap();
//!     let store = MyStore::open(dir.path()).unwrap();
//!     Fixture::new(Arc::new(store), "bull", dir)
//! }
//!
//! jobcell_core::store_conformance!(fresh);
//! ```
//!
//! The macro makes a module `conformance` with one named test per case, so that a failure names the promise that is
//! broken and a run can be narrowed (`cargo test -p jobcell-redis conformance::finish::`). Each case gets a store of
//! its own, runs for at most [`CASE_TIMEOUT`], and closes the store at its end.
//!
//! A new case is a `pub async fn` in one of the modules below, taking a [`Rig`], and its name in `table.rs`, the table
//! of [`store_conformance!`](crate::store_conformance); a test of this crate fails when the two disagree. What stores
//! offer besides jobs has tables of its own: [`documents`], [`keyvalue`].
//!
//! Time: `now` is made up where the store lets its caller say it, and runs ahead of the real clock. What the store
//! measures by itself (locks, the rate window, the stall interval) is short, and cases wait for its effect.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test suite: a failed expectation is the report"
)]

#[doc(hidden)]
pub mod add;
#[doc(hidden)]
pub mod admin;
#[doc(hidden)]
pub mod bulk;
#[doc(hidden)]
pub mod cancel;
#[doc(hidden)]
pub mod children;
#[doc(hidden)]
pub mod claim;
#[doc(hidden)]
pub mod cleaning;
#[doc(hidden)]
pub mod concurrency;
#[doc(hidden)]
pub mod deduplication;
#[doc(hidden)]
pub mod documents;
#[doc(hidden)]
pub mod events;
#[doc(hidden)]
pub mod finish;
#[doc(hidden)]
pub mod flow_failures;
#[doc(hidden)]
pub mod flow_removal;
#[doc(hidden)]
pub mod flows;
#[doc(hidden)]
pub mod give_back;
#[doc(hidden)]
pub mod keep;
#[doc(hidden)]
pub mod keyvalue;
#[doc(hidden)]
pub mod limits;
#[doc(hidden)]
pub mod locks;
#[doc(hidden)]
pub mod look;
#[doc(hidden)]
pub mod model;
#[doc(hidden)]
pub mod pause;
#[doc(hidden)]
pub mod receipts;
mod rig;
#[doc(hidden)]
pub mod running;
#[doc(hidden)]
pub mod schedulers;
#[doc(hidden)]
pub mod series;
#[doc(hidden)]
pub mod stall;
mod table;
#[doc(hidden)]
pub mod versions;
#[doc(hidden)]
pub mod waiter;

use std::any::Any;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

pub use rig::Rig;
pub use table::CASES;

use crate::store::Admin;

/// The longest one case may run. The slowest takes a second or two on a loaded machine; more means that it hangs.
pub const CASE_TIMEOUT: Duration = Duration::from_secs(60);

/// An empty store, and what must live as long as it does.
pub struct Fixture {
    store: Arc<dyn Admin>,
    prefix: String,
    guard: Box<dyn Any + Send + Sync>,
}

impl Fixture {
    /// `prefix` is what the keys of this store's queues start with (`bull` in `bull:mail:7`); `guard` (a temporary
    /// directory, a server) is dropped after the store was closed.
    #[must_use]
    pub fn new(store: Arc<dyn Admin>, prefix: impl Into<String>, guard: impl Any + Send + Sync) -> Self {
        Self { store, prefix: prefix.into(), guard: Box::new(guard) }
    }
}

/// Runs one case; what [`store_conformance!`](crate::store_conformance) expands to.
///
/// # Panics
/// When the store does not do what the case expects, or hangs.
pub async fn run<F, T>(fixture: Fixture, case: F)
where
    F: FnOnce(Rig) -> T,
    T: Future<Output = ()>,
{
    let Fixture { store, prefix, guard } = fixture;
    let rig = Rig::new(store.clone(), prefix);
    let ended = tokio::time::timeout(CASE_TIMEOUT, Box::pin(case(rig))).await;
    store.close().await;
    drop(store);
    drop(guard);
    assert!(ended.is_ok(), "the case did not end within {CASE_TIMEOUT:?}");
}
