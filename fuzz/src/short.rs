//! The short run of a target: its kept corpus, then a fixed number of inputs made from it. The same on every machine.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use crate::Target;

/// The seed of every short run.
const SEED: u64 = 0x6a6f_6263_656c_6c21;
/// Changes that one input is made by at most.
const CHANGES_MAX: u64 = 6;
/// Numbers at which bounds lie.
const EDGES: [u64; 12] = [
    0,
    1,
    0x7f,
    0xff,
    0x7fff,
    0xffff,
    0x1_0000,
    0x7fff_ffff,
    0xffff_ffff,
    1 << 53,
    i64::MAX as u64,
    u64::MAX,
];

/// Where the inputs of a target are kept.
#[must_use]
pub fn corpus(target: &Target) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name)
}

/// The kept inputs, in the order of their names.
///
/// # Panics
/// When there are none: a target without a corpus tests next to nothing.
#[must_use]
pub fn kept(target: &Target) -> Vec<Vec<u8>> {
    let folder = corpus(target);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    let read = |path: &PathBuf| fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let inputs: Vec<Vec<u8>> = paths.iter().map(read).collect();
    assert!(!inputs.is_empty(), "{} is empty", folder.display());
    inputs
}

/// Replays the corpus and runs `count` inputs made from it.
///
/// # Panics
/// When the target does; the input is told, and written where libFuzzer would write it.
pub fn run(target: &Target, count: u32) {
    let kept = kept(target);
    for input in &kept {
        one(target, input);
    }
    let mut dice = Dice(SEED);
    for _ in 0..count {
        let mut input = kept[dice.below(kept.len())].clone();
        for _ in 0..=dice.below_u64(CHANGES_MAX) {
            let other = &kept[dice.below(kept.len())];
            change(&mut input, other, &mut dice);
        }
        input.truncate(target.bytes_max);
        one(target, &input);
    }
}

fn one(target: &Target, input: &[u8]) {
    let Err(panic) = catch_unwind(AssertUnwindSafe(|| (target.run)(input))) else { return };
    let path = std::env::temp_dir().join(format!("jobcell-fuzz-{}", target.name));
    let kept = match fs::write(&path, input) {
        Ok(()) => format!("it is kept as {}", path.display()),
        Err(error) => format!("it could not be kept: {error}"),
    };
    eprintln!("target {} breaks on {:?}; {kept}", target.name, String::from_utf8_lossy(input));
    std::panic::resume_unwind(panic);
}

/// One change, as fuzzers make them: bits, numbers, pieces left out, doubled, or taken from another input.
fn change(input: &mut Vec<u8>, other: &[u8], dice: &mut Dice) {
    let at = dice.below(input.len() + 1);
    let end = (at + dice.below(24)).min(input.len());
    match dice.below(8) {
        0 if at < input.len() => input[at] ^= 1 << dice.below(8),
        1 if at < input.len() => input[at] = dice.byte(),
        2 => drop(input.drain(at..end)),
        3 => input.insert(at, dice.byte()),
        4 => {
            let piece = input[at..end].to_vec();
            input.splice(at..at, piece);
        }
        5 => {
            let number = EDGES[dice.below(EDGES.len())];
            let bytes = number.to_le_bytes();
            let width = [1, 2, 4, 8][dice.below(4)];
            // As a number in memory over what is there, or in digits for what is text.
            if dice.below(2) == 0 {
                let end = (at + width).min(input.len());
                let there = end - at;
                input[at..end].copy_from_slice(&bytes[..there]);
            } else {
                input.splice(at..end, number.to_string().into_bytes());
            }
        }
        6 if !other.is_empty() => {
            let from = dice.below(other.len());
            let to = (from + 1 + dice.below(48)).min(other.len());
            input.splice(at..end, other[from..to].iter().copied());
        }
        _ if !other.is_empty() => {
            let from = dice.below(other.len());
            input.truncate(at);
            input.extend_from_slice(&other[from..]);
        }
        _ => {}
    }
}

/// Numbers that depend on the seed alone (xorshift64*).
struct Dice(u64);

// === impl Dice ===

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below_u64(&mut self, bound: u64) -> u64 {
        (self.next() >> 16) % bound.max(1)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.below_u64(bound as u64)).unwrap_or_default()
    }

    fn byte(&mut self) -> u8 {
        self.next().to_be_bytes()[0]
    }
}
