//! Free ports on loopback.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

/// Below the ports that kernels give to outgoing connections, so that none of those is in the way by the time the
/// program that gets the port listens on it.
const FIRST: u16 = 15_000;
const COUNT: u16 = 15_000;

/// A port that nothing listens on, never given twice by this program.
pub(crate) fn free() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Several test programs may run at once; each starts somewhere else.
    let start = (std::process::id() % u32::from(COUNT)) as u16;
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(7, Ordering::Relaxed);
        let port = FIRST + (start.wrapping_mul(13).wrapping_add(step)) % COUNT;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port between {FIRST} and {}", FIRST + COUNT)
}
