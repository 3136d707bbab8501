//! Whose work comes first where there is more of it than cores.
//!
//! Jobs do. What a host does beside them is done on threads that have stepped back: a priority that a thread has given up it
//! cannot take again, so these are threads of their own, not those of a pool.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use tokio::sync::oneshot;

/// How far behind the jobs that work is which somebody waits for: with all cores busy it has a third of what one of them gets.
#[cfg(target_os = "linux")]
const BEHIND: i32 = 5;
/// The last place there is.
#[cfg(target_os = "linux")]
const LAST: i32 = 19;

/// What the threads are named: they can be told from others in a profile.
const NAME: &str = "jobcell-behind";

/// Does the work on a thread of its own, behind the jobs that run. Threads and processes that it starts are behind them as
/// well. Where the system has no thread for it, the runtime's own threads for blocking work do it as they are.
///
/// Cancel safety: dropped, the work goes on to its end, and nobody hears of it.
///
/// # Errors
/// What the work panicked with.
///
/// # Panics
/// Outside of a tokio runtime, where the system has no thread for it.
pub async fn behind<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> thread::Result<T> {
    let (tell, told) = oneshot::channel();
    let (hand_over, take) = std::sync::mpsc::channel::<Box<dyn FnOnce() + Send>>();
    // Handed over once there is a thread, so that it is still here where there is none.
    let is_started = thread::Builder::new().name(NAME.to_owned()).spawn(move || {
        step_back();
        if let Ok(work) = take.recv() {
            work();
        }
    });
    let work: Box<dyn FnOnce() + Send> = Box::new(move || {
        // Nobody looks at what a panic left half done: it was moved here, and ends with it.
        let _ = tell.send(catch_unwind(AssertUnwindSafe(work)));
    });
    match is_started {
        // It waits for nothing else, so it is there.
        Ok(_) => _ = hand_over.send(work),
        Err(error) => {
            tracing::debug!(%error, "no thread to step back with; work has the priority of jobs");
            tokio::task::spawn_blocking(work);
        }
    }
    match told.await {
        Ok(done) => done,
        // The runtime ends before the work has begun, and with it whoever waits here.
        Err(_) => std::future::pending().await,
    }
}

/// Has the calling thread, and those that it starts from now on, come behind the jobs that run, for good. Where nothing else
/// wants the cores, it makes no difference. On Linux the priority is a thread's own; where it is the process's, all stay as
/// they are.
fn step_back() {
    #[cfg(target_os = "linux")]
    nice(BEHIND);
}

/// The same, behind everything else: for work that nobody waits for.
pub fn step_last() {
    #[cfg(target_os = "linux")]
    nice(LAST);
}

#[cfg(target_os = "linux")]
fn nice(steps: i32) {
    if let Err(error) = rustix::process::nice(steps) {
        tracing::debug!(%error, "a thread could not step back; it has the priority of jobs");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The calling thread's, as the kernel has it.
    #[cfg(target_os = "linux")]
    fn niceness() -> i32 {
        rustix::process::getpriority_process(None).unwrap()
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn only_the_work_and_what_it_starts_step_back() {
        let own = niceness();
        let work = || (niceness(), thread::spawn(niceness).join().unwrap());
        let back = (own + BEHIND).min(LAST);
        assert_eq!(behind(work).await.unwrap(), (back, back));
        assert_eq!(behind(niceness).await.unwrap(), back, "it is not behind the one before");
        assert_eq!(niceness(), own);
        thread::spawn(|| {
            step_last();
            assert_eq!(niceness(), LAST);
        })
        .join()
        .unwrap();
        assert_eq!(niceness(), own);
    }

    #[tokio::test]
    async fn a_panic_is_told_and_ends_nothing_else() {
        let panic = behind(|| -> () { panic!("broken") }).await.unwrap_err();
        assert_eq!(panic.downcast_ref(), Some(&"broken"));
        assert_eq!(behind(|| 7).await.unwrap(), 7);
    }
}
