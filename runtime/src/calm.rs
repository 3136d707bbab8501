//! What a host's attempts are recorded for, on a thread that gives way to all others.

use std::sync::Arc;

use jobcell_core::SystemClock;
use jobcell_core::priority::step_last;
use jobcell_core::recordings::Recordings;
use jobcell_core::shadow::{ShadowBounds, Shadows};
use jobcell_handlers::Taps;

use crate::stores::OpenStore;

/// Recordings in this store, and shadows that take what live attempts leave of the processor.
pub(crate) fn taps(open: &OpenStore) -> Taps {
    let clock = Arc::new(SystemClock);
    Taps {
        shadows: Shadows::new(ShadowBounds::default(), Arc::clone(&clock) as _, step_last),
        recordings: Recordings::new(Arc::clone(&open.documents)),
        clock,
        entropy: rand::random::<[u8; 32]>,
    }
}
