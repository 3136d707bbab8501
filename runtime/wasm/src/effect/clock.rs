//! Time and random numbers of an attempt with a tape: what was read is recorded or played, and random numbers come from
//! the tape's seed.

use std::time::Duration;

use jobcell_core::effects::{Gauge, Seed, Tape};
use rand::SeedableRng;
use rand::rngs::StdRng;
use sha2::{Digest, Sha256};
use wasmtime_wasi::{HostMonotonicClock, HostWallClock};

use super::read;

const MS: u64 = 1_000_000;

/// A clock whose readings go through a tape. They are whole milliseconds, as those of every guest.
pub(crate) struct Taped<C> {
    clock: C,
    tape: Tape,
}

impl<C> Taped<C> {
    pub(crate) fn new(clock: C, tape: &Tape) -> Self {
        Self { clock, tape: tape.clone() }
    }
}

impl<C: HostMonotonicClock> HostMonotonicClock for Taped<C> {
    fn resolution(&self) -> u64 {
        self.clock.resolution()
    }

    fn now(&self) -> u64 {
        read(&self.tape, Gauge::Steady, self.clock.now() / MS).saturating_mul(MS)
    }
}

impl<C: HostWallClock> HostWallClock for Taped<C> {
    fn resolution(&self) -> Duration {
        self.clock.resolution()
    }

    fn now(&self) -> Duration {
        let now = u64::try_from(self.clock.now().as_millis()).unwrap_or(u64::MAX);
        Duration::from_millis(read(&self.tape, Gauge::Wall, now))
    }
}

/// What a source of random numbers is for. Each has numbers of its own, so that none tells of another.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Random {
    Secure,
    Insecure,
    Seed,
}

/// The seed that an attempt's random numbers come from.
pub(crate) fn seed(tape: &Tape) -> Seed {
    match tape {
        Tape::Record(recorder) => recorder.seed(),
        Tape::Play(player) => player.seed(),
    }
}

/// The random numbers of a seed: as hard to guess as it is.
pub(crate) fn random(seed: Seed, of: Random) -> StdRng {
    let word: &[u8] = match of {
        Random::Secure => b"secure",
        Random::Insecure => b"insecure",
        Random::Seed => b"seed",
    };
    let own = Sha256::new().chain_update(seed.0).chain_update(word).finalize();
    StdRng::from_seed(own.into())
}
