//! The clock that interrupts guests: a thread of its own, so that it ticks even when every runtime thread is busy
//! running guests.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::error::WasmError;

/// Advances an engine's epoch at a fixed pace until dropped.
pub(crate) struct Ticker {
    stop: Arc<Stop>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Stop {
    stopped: Mutex<bool>,
    changed: Condvar,
}

// === impl Ticker ===

impl Ticker {
    /// Starts the thread. It holds the engine weakly, so that it never keeps one alive.
    pub(crate) fn start(engine: &wasmtime::Engine, tick: Duration) -> Result<Self, WasmError> {
        let stop = Arc::new(Stop::default());
        let (engine, seen) = (engine.weak(), Arc::clone(&stop));
        let thread = std::thread::Builder::new()
            .name("jobcell-ticker".to_owned())
            .spawn(move || {
                while !seen.wait(tick) {
                    let Some(engine) = engine.upgrade() else { return };
                    engine.increment_epoch();
                }
            })
            .map_err(WasmError::Ticker)?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        *self.stop.stopped.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.stop.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // The thread runs nothing that can panic, and its end is at most one tick away.
            let _ = thread.join();
        }
    }
}

// === impl Stop ===

impl Stop {
    /// Waits one tick; true when the ticker must end.
    fn wait(&self, tick: Duration) -> bool {
        let stopped = self.stopped.lock().unwrap_or_else(PoisonError::into_inner);
        let (stopped, _) = self
            .changed
            .wait_timeout_while(stopped, tick, |stopped| !*stopped)
            .unwrap_or_else(PoisonError::into_inner);
        *stopped
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn engine() -> wasmtime::Engine {
        let mut config = wasmtime::Config::new();
        config.epoch_interruption(true);
        wasmtime::Engine::new(&config).unwrap()
    }

    #[test]
    fn dropping_ends_the_thread_without_waiting_for_the_tick() {
        let ticker = Ticker::start(&engine(), Duration::from_secs(600)).unwrap();
        let before = Instant::now();
        drop(ticker);
        assert!(before.elapsed() < Duration::from_secs(60));
    }

    #[test]
    fn the_thread_ends_with_its_engine() {
        let engine = engine();
        let mut ticker = Ticker::start(&engine, Duration::from_millis(1)).unwrap();
        drop(engine);
        // It ends by itself at the next tick; joining would hang if it did not.
        ticker.thread.take().unwrap().join().unwrap();
    }
}
