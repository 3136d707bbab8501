//! Connections for commands that keep theirs busy: blocking reads, and what is too large to hold others up.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jobcell_core::StoreError;
use redis::{Cmd, Value};

use super::{Broken, Redis, Seated};
use crate::connect::CONNECT_TIMEOUT;
use crate::error;

/// Connections kept for the next reader; more readers than that open their own each time.
const IDLE_MAX: usize = 8;

/// Connections for blocking reads. One serves one reader at a time; a reader that is dropped takes its own along.
#[derive(Clone)]
pub(crate) struct Readers {
    /// What `CLIENT LIST` shows.
    name: &'static str,
    idle: Arc<Mutex<Vec<Seated>>>,
}

// === impl Readers ===

impl Readers {
    pub(crate) fn new(name: &'static str) -> Self {
        Self { name, idle: Arc::default() }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Seated>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn clear(&self) {
        self.idle().clear();
    }

    /// Runs a command on this key that takes at most `wait`. It may be sent twice, so doing it again must do no harm.
    pub(crate) async fn call(
        &self,
        redis: &Redis,
        key: &str,
        cmd: &Cmd,
        wait: Duration,
    ) -> Result<Value, StoreError> {
        // Those that lead elsewhere by now are dropped.
        let idle = {
            let mut idle = self.idle();
            idle.retain(|open| redis.is_current(open));
            let fits = idle.iter().position(|open| redis.is_seated(open, key));
            fits.map(|place| idle.swap_remove(place))
        };
        let reused = idle.is_some();
        let mut open = match idle {
            Some(open) => open,
            None => redis.seated(key, self.name, CONNECT_TIMEOUT).await?,
        };
        let mut reply = redis.block(&open, key, cmd, wait).await;
        if reply.is_err() && reused {
            // It broke while nobody used it.
            open = redis.seated(key, self.name, CONNECT_TIMEOUT).await?;
            reply = redis.block(&open, key, cmd, wait).await;
        }
        let value = reply.map_err(|broken| match broken {
            Broken::Elsewhere => redis.error(&error::unsent("another server has the key now")),
            Broken::Failed(e) => e,
        })?;
        let mut idle = self.idle();
        if idle.len() < IDLE_MAX {
            idle.push(open);
        }
        Ok(value)
    }
}

impl std::fmt::Debug for Readers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Readers").field("idle", &self.idle().len()).finish_non_exhaustive()
    }
}
