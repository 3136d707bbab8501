//! Work that computes for milliseconds with each MiB of an artifact, kept from the threads on which everything else waits:
//! a job that is next on one of them would wait for it.

use std::panic::resume_unwind;

/// Does the work on a thread of its own kind. Dropped, it goes on to its end and nobody hears of it.
pub(crate) async fn apart<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(fault) => match fault.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            // The runtime ends before the work has begun, and with it whoever waits here.
            Err(_) => std::future::pending().await,
        },
    }
}
