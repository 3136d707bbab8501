//! The clock that interrupts guests: a thread of its own, so that it ticks even when every runtime thread is busy
//! running guests.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use wasmtime::EngineWeak;

use crate::error::WasmError;

/// Advances the epochs of engines at a fixed pace until dropped.
pub(crate) struct Ticker {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    stopped: Mutex<bool>,
    changed: Condvar,
    /// Held weakly, so that it never keeps one alive.
    engines: Mutex<Vec<EngineWeak>>,
}

// === impl Ticker ===

impl Ticker {
    /// Starts the thread, with no engine yet.
    pub(crate) fn start(tick: Duration) -> Result<Self, WasmError> {
        let shared = Arc::new(Shared::default());
        let seen = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("jobcell-ticker".to_owned())
            .spawn(move || {
                while !seen.wait(tick) {
                    seen.beat();
                }
            })
            .map_err(WasmError::Ticker)?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Ticks for this engine too, as long as it lives.
    pub(crate) fn add(&self, engine: &wasmtime::Engine) {
        self.shared.engines().push(engine.weak());
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        *self.shared.stopped.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // The thread runs nothing that can panic, and its end is at most one tick away.
            let _ = thread.join();
        }
    }
}

// === impl Shared ===

impl Shared {
    fn engines(&self) -> MutexGuard<'_, Vec<EngineWeak>> {
        self.engines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One tick; engines that are gone are forgotten.
    fn beat(&self) {
        self.engines().retain(|engine| {
            let engine = engine.upgrade();
            engine.inspect(wasmtime::Engine::increment_epoch).is_some()
        });
    }

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
        let ticker = Ticker::start(Duration::from_secs(600)).unwrap();
        ticker.add(&engine());
        let before = Instant::now();
        drop(ticker);
        assert!(before.elapsed() < Duration::from_secs(60));
    }

    #[test]
    fn engines_that_are_gone_are_forgotten_and_the_others_go_on() {
        let ticker = Ticker::start(Duration::from_secs(600)).unwrap();
        let (stays, goes) = (engine(), engine());
        ticker.add(&stays);
        ticker.add(&goes);
        ticker.shared.beat();
        assert_eq!(ticker.shared.engines().len(), 2);
        drop(goes);
        ticker.shared.beat();
        assert_eq!(ticker.shared.engines().len(), 1, "it keeps none alive");
    }
}
