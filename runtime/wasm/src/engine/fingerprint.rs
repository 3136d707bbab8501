//! One name for everything that decides whether machine code fits an engine: its version, the processor's features and
//! the settings that shape code.

use std::hash::{Hash, Hasher};

use sha2::{Digest, Sha256};

/// The same in every process whose engine makes the same code; 64 hex digits.
pub(crate) fn fingerprint(engine: &wasmtime::Engine) -> String {
    let mut settings = Sha256Hasher(Sha256::new());
    engine.precompile_compatibility_hash().hash(&mut settings);
    hex::encode(settings.0.finalize())
}

/// Feeds what wasmtime hashes into a hash that is the same in every process.
struct Sha256Hasher(Sha256);

impl Hasher for Sha256Hasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        let digest = self.0.clone().finalize();
        u64::from_le_bytes([
            digest[0], digest[1], digest[2], digest[3], digest[4], digest[5], digest[6], digest[7],
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::super::Tier;
    use super::super::settings::{EngineConfig, clearing, compiler_config, wasmtime_config};
    use super::*;

    #[test]
    fn a_compiler_without_a_pool_makes_code_for_every_pool() {
        let small = EngineConfig { cells: 1, ..EngineConfig::default() };
        let other = EngineConfig {
            memory_max: 128 << 20,
            table_elements: 1000,
            parallel_compilation: false,
            stack_zeroing: false,
            pagemap_scan: false,
            ..small.clone()
        };
        let made = [Tier::Baseline, Tier::Optimised].map(|tier| {
            let made = fingerprint(&wasmtime::Engine::new(&compiler_config(tier)).unwrap());
            for (config, stack) in [(&small, 512 << 10), (&small, 64 << 10), (&other, 1 << 20)] {
                let config = wasmtime_config(config, &clearing(config), stack, tier);
                assert_eq!(fingerprint(&wasmtime::Engine::new(&config).unwrap()), made);
            }
            let mut config = compiler_config(tier);
            config.epoch_interruption(false);
            assert_ne!(fingerprint(&wasmtime::Engine::new(&config).unwrap()), made);
            made
        });
        assert_ne!(made[0], made[1], "code of one compiler does not stand in for the other's");
    }
}
