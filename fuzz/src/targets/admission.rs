//! Admission: any bytes are admitted or refused with a typed reason, which people can read.

use std::sync::LazyLock;

use arbitrary::{Arbitrary, Unstructured};
use jobcell_wasm::{AdmitError, AdmitOptions, Engine, EngineConfig, Grants, inspect};

use crate::guest::{self, Encoding};

/// One engine: its pool reserves much address space.
pub(crate) static ENGINE: LazyLock<Engine> = LazyLock::new(|| {
    let config = EngineConfig { cells: 8, memory_max: 64 << 20, ..EngineConfig::default() };
    Engine::new(config).expect("an engine")
});

/// What a message may have: it goes into logs and to terminals.
const MESSAGE_BYTES_MAX: usize = 8 << 10;

/// Begins an input that is not an artifact but changes to one, four bytes each: where (two), how, and a byte.
const EDIT: &[u8] = b"edit";

/// Bytes as they come, or a good component with changes.
pub fn artifact(data: &[u8]) {
    match data.strip_prefix(EDIT) {
        None => admit(data),
        Some(edits) => admit(&edited(edits)),
    }
}

fn edited(edits: &[u8]) -> Vec<u8> {
    let mut bytes = guest::component(Encoding::Utf8).to_vec();
    for edit in edits.chunks_exact(4) {
        let at = usize::from(u16::from_le_bytes([edit[0], edit[1]])) % bytes.len().max(1);
        match (edit[2] & 3, bytes.get_mut(at)) {
            (0, Some(byte)) => *byte = edit[3],
            (1, Some(byte)) => *byte ^= edit[3],
            (2, Some(_)) => drop(bytes.remove(at)),
            _ => bytes.insert(at, edit[3]),
        }
    }
    bytes
}

/// Components made by a generator, alone or inside one that exports a handler: those reach the compiler.
pub fn component(data: &[u8]) {
    let mut choices = Unstructured::new(data);
    let Ok(bytes) = generated(&mut choices) else { return };
    admit(&bytes);
}

fn generated(choices: &mut Unstructured<'_>) -> arbitrary::Result<Vec<u8>> {
    let within = choices.int_in_range(0..=3)?;
    let encoding = *choices.choose(&Encoding::ALL)?;
    let handler = || guest::component(encoding).to_vec();
    Ok(match within {
        0 => wasm_smith::Component::new(config(choices)?, choices)?.to_bytes(),
        1 => nested(
            handler(),
            Part::Component,
            &wasm_smith::Component::new(config(choices)?, choices)?.to_bytes(),
        ),
        // A module is compiled whether anybody makes an instance of it or not.
        _ => nested(handler(), Part::Module, &wasm_smith::Module::new(config(choices)?, choices)?.to_bytes()),
    })
}

/// What a generator may use: also what the host does not run, which must be refused by its name.
fn config(choices: &mut Unstructured<'_>) -> arbitrary::Result<wasm_smith::Config> {
    let mut config = wasm_smith::Config::arbitrary(choices)?;
    config.max_memories = config.max_memories.min(4);
    config.max_instructions = config.max_instructions.min(400);
    if choices.ratio(2, 3)? {
        // Otherwise nearly everything is refused for a proposal.
        config.threads_enabled = false;
        config.gc_enabled = false;
        config.exceptions_enabled = false;
        config.memory64_enabled = false;
        config.tail_call_enabled = false;
        config.relaxed_simd_enabled = false;
        config.wide_arithmetic_enabled = false;
        config.custom_page_sizes_enabled = false;
        config.max_memories = 1;
    }
    Ok(config)
}

#[derive(Clone, Copy)]
enum Part {
    Module = 1,
    Component = 4,
}

/// The component with one more section behind the others: a module or component inside it.
fn nested(mut component: Vec<u8>, part: Part, inner: &[u8]) -> Vec<u8> {
    component.push(part as u8);
    let mut length = inner.len();
    loop {
        let low = u8::try_from(length & 0x7f).expect("seven bits");
        length >>= 7;
        component.push(if length > 0 { low | 0x80 } else { low });
        if length == 0 {
            break;
        }
    }
    component.extend_from_slice(inner);
    component
}

fn admit(bytes: &[u8]) {
    let described = inspect(bytes);
    let options = AdmitOptions::new("fuzzed", guest::grants());
    let admitted = ENGINE.admit_blocking(bytes, &options);
    match &admitted {
        Ok(admitted) => {
            let description = described.as_ref().expect("what is admitted can be inspected");
            assert_eq!(admitted.digest(), description.digest);
            let without = AdmitOptions::new("fuzzed", Grants::default());
            if !description.grants.is_empty() {
                let refused = ENGINE.admit_blocking(bytes, &without);
                assert!(matches!(refused, Err(AdmitError::NotGranted { .. })), "{refused:?}");
            }
        }
        Err(error) => {
            check_message(&error.to_string());
            assert!(!error.is_transient(), "{error}");
        }
    }
    if let Err(error) = described {
        check_message(&error.to_string());
        assert!(admitted.is_err(), "admitted, and cannot be inspected: {error}");
    }
}

fn check_message(message: &str) {
    assert!(message.len() <= MESSAGE_BYTES_MAX, "{} bytes of message: {message:.200}", message.len());
    let steers = |c: char| c.is_control() && c != '\n';
    assert!(!message.contains(steers), "a message that steers terminals: {message:?}");
}
