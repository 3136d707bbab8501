//! One target under libFuzzer: `JOBCELL_FUZZ_TARGET` names it, the arguments are libFuzzer's own.

#![no_main]
use std::sync::LazyLock;

use jobcell_fuzz::{TARGETS, Target, target};

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let name = std::env::var("JOBCELL_FUZZ_TARGET").unwrap_or_default();
    target(&name).unwrap_or_else(|| {
        let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
        panic!("JOBCELL_FUZZ_TARGET is {name:?}; name one of {}", names.join(", "))
    })
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| (TARGET.run)(data));
