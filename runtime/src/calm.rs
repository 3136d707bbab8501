//! What a host's attempts are recorded for, on a thread that gives way to all others.

use std::sync::Arc;

use jobcell_core::SystemClock;
use jobcell_core::recordings::Recordings;
use jobcell_core::shadow::{ShadowBounds, Shadows};
use jobcell_handlers::Taps;

use crate::stores::OpenStore;

/// How far behind all others: the last place there is.
const LAST: i32 = 19;

/// Recordings in this store, and shadows that take what live attempts leave of the processor.
pub(crate) fn taps(open: &OpenStore) -> Taps {
    let clock = Arc::new(SystemClock);
    Taps {
        shadows: Shadows::new(ShadowBounds::default(), Arc::clone(&clock) as _, give_way),
        recordings: Recordings::new(Arc::clone(&open.documents)),
        clock,
        entropy: rand::random::<[u8; 32]>,
    }
}

/// Lets every other thread go first. On Linux this is the thread's own; where it is the process's, all go on as before.
fn give_way() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::nice(LAST) {
        tracing::debug!(%error, "shadows run with the priority of live attempts");
    }
}
