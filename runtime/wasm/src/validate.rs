//! Whether a whole binary is valid as the engine would have it, before any of it is compiled.

use std::collections::VecDeque;
use std::num::NonZero;
use std::sync::{Mutex, PoisonError};
use std::thread;

use wasmparser::{
    BinaryReaderError, FuncToValidate, FuncValidatorAllocations, FunctionBody, Parser, ValidPayload,
    Validator, ValidatorResources, WasmFeatures,
};

use crate::admit::AdmitError;
use crate::engine::PROPOSALS;
use crate::shape::types::Measures;

/// Proposals that the engine refuses, by the name of the refusal.
const REFUSED: [(&str, WasmFeatures); 20] = [
    ("threads", WasmFeatures::THREADS),
    ("shared-everything threads", WasmFeatures::SHARED_EVERYTHING_THREADS.union(WasmFeatures::THREADS)),
    ("exceptions", WasmFeatures::EXCEPTIONS.union(WasmFeatures::GC_TYPES)),
    ("legacy exceptions", WasmFeatures::LEGACY_EXCEPTIONS),
    ("function references", WasmFeatures::FUNCTION_REFERENCES.union(WasmFeatures::GC_TYPES)),
    ("gc", WasmFeatures::GC.union(WasmFeatures::GC_TYPES).union(WasmFeatures::FUNCTION_REFERENCES)),
    ("memory64", WasmFeatures::MEMORY64),
    ("multi-memory", WasmFeatures::MULTI_MEMORY),
    ("tail calls", WasmFeatures::TAIL_CALL),
    ("relaxed simd", WasmFeatures::RELAXED_SIMD),
    ("wide arithmetic", WasmFeatures::WIDE_ARITHMETIC),
    ("custom page sizes", WasmFeatures::CUSTOM_PAGE_SIZES),
    ("memory control", WasmFeatures::MEMORY_CONTROL),
    (
        "stack switching",
        WasmFeatures::STACK_SWITCHING
            .union(WasmFeatures::EXCEPTIONS)
            .union(WasmFeatures::FUNCTION_REFERENCES)
            .union(WasmFeatures::GC_TYPES),
    ),
    ("component-model async", ASYNC),
    ("component-model threading", WasmFeatures::CM_THREADING.union(ASYNC)),
    ("component-model error contexts", WasmFeatures::CM_ERROR_CONTEXT.union(ASYNC)),
    ("component-model values", WasmFeatures::CM_VALUES),
    ("component-model fixed-length lists", WasmFeatures::CM_FIXED_LENGTH_LISTS),
    ("component-model maps", WasmFeatures::CM_MAP),
];

/// Async components with what extends them.
const ASYNC: WasmFeatures =
    WasmFeatures::CM_ASYNC.union(WasmFeatures::CM_ASYNC_STACKFUL).union(WasmFeatures::CM_MORE_ASYNC_BUILTINS);

/// Threads that look at functions: most of the work, and easily shared.
const THREADS_MAX: usize = 4;
/// Functions for which one more thread is worth its start.
const FUNCTIONS_EACH: usize = 256;

/// Artifacts that are remembered to be valid. As many as are deployed within moments.
const REMEMBERED: usize = 16;

/// What has been found valid lately. A deploy asks three times within a second: before its bytes are stored, before its baseline
/// code is made, and before the optimised is. Each would take its time from jobs.
static FOUND_VALID: Mutex<Lately> = Mutex::new(Lately(VecDeque::new()));

/// Digests, the latest last.
struct Lately(VecDeque<String>);

impl Lately {
    fn has(&self, digest: &str) -> bool {
        self.0.iter().any(|one| one == digest)
    }

    fn add(&mut self, digest: &str) {
        if self.has(digest) {
            return;
        }
        if self.0.len() == REMEMBERED {
            self.0.pop_front();
        }
        self.0.push_back(digest.to_owned());
    }
}

/// Checks the whole binary, whose digest this is, as the engine would, and the size of its types.
pub(crate) fn validate(bytes: &[u8], digest: &str) -> Result<(), AdmitError> {
    check(bytes, digest).map_err(|invalid| invalid.told(bytes))
}

/// Whether a binary is valid where these parts of WebAssembly are on.
pub(crate) fn valid(bytes: &[u8], features: WasmFeatures) -> bool {
    Validator::new_with_features(features).validate_all(bytes).is_ok()
}

/// Why a binary does not pass.
pub(crate) enum Invalid {
    Binary(BinaryReaderError),
    Capped(AdmitError),
}

impl Invalid {
    /// In words, which may take several times as long as it took to find.
    pub(crate) fn told(self, bytes: &[u8]) -> AdmitError {
        let error = match self {
            Self::Capped(error) => return error,
            Self::Binary(error) => error,
        };
        let proposal = REFUSED.into_iter().find(|(_, feature)| valid(bytes, PROPOSALS.union(*feature)));
        match proposal {
            Some((proposal, _)) => AdmitError::Proposal { proposal, at: error.offset() },
            None => error.into(),
        }
    }
}

impl From<BinaryReaderError> for Invalid {
    fn from(error: BinaryReaderError) -> Self {
        Self::Binary(error)
    }
}

/// A function, once everything around it has been found valid.
type Function<'a> = (FuncToValidate<ValidatorResources>, FunctionBody<'a>);

/// [`validate`], told in few words.
pub(crate) fn check(bytes: &[u8], digest: &str) -> Result<(), Invalid> {
    check_unless(&FOUND_VALID, bytes, digest)
}

/// Looks only at what is not remembered, and remembers what is valid.
fn check_unless(valid: &Mutex<Lately>, bytes: &[u8], digest: &str) -> Result<(), Invalid> {
    let lately = || valid.lock().unwrap_or_else(PoisonError::into_inner);
    if lately().has(digest) {
        return Ok(());
    }
    check_anew(bytes)?;
    lately().add(digest);
    Ok(())
}

fn check_anew(bytes: &[u8]) -> Result<(), Invalid> {
    // Half of the cores: it is done beside jobs.
    let threads = thread::available_parallelism().map_or(1, NonZero::get).div_ceil(2).min(THREADS_MAX);
    check_on(threads, bytes)
}

fn check_on(threads: usize, bytes: &[u8]) -> Result<(), Invalid> {
    let mut validator = Validator::new_with_features(PROPOSALS);
    let (mut measures, mut functions) = (Measures::default(), Vec::new());
    for payload in Parser::new(0).parse_all(bytes) {
        match validator.payload(&payload?)? {
            ValidPayload::Func(function, body) => functions.push((function, body)),
            ValidPayload::End(types) => measures.hold(types.as_ref()).map_err(Invalid::Capped)?,
            ValidPayload::Ok | ValidPayload::Parser(_) => {}
        }
    }
    Ok(validate_functions(functions, threads)?)
}

/// On so many threads at most, the calling one among them.
///
/// # Errors
/// What is wrong with the first function that is not valid, whichever thread looked at it.
fn validate_functions(functions: Vec<Function<'_>>, threads: usize) -> Result<(), BinaryReaderError> {
    let helpers = functions.len().div_ceil(FUNCTIONS_EACH).min(threads).saturating_sub(1);
    // Handed out in their order, so that every function before one that is not valid is looked at as well.
    let functions = Mutex::new(functions.into_iter().enumerate());
    let next = || functions.lock().unwrap_or_else(PoisonError::into_inner).next();
    let look = || -> Result<(), (usize, BinaryReaderError)> {
        let mut spare = FuncValidatorAllocations::default();
        while let Some((at, (function, body))) = next() {
            let mut validator = function.into_validator(spare);
            validator.validate(&body).map_err(|error| (at, error))?;
            spare = validator.into_allocations();
        }
        Ok(())
    };
    let found = thread::scope(|scope| {
        let look = &look;
        let start = |_| thread::Builder::new().spawn_scoped(scope, look).ok();
        let helpers: Vec<_> = (0..helpers).map_while(start).collect();
        let own = look();
        let joined = |helper: thread::ScopedJoinHandle<'_, _>| match helper.join() {
            Ok(found) => found,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        helpers.into_iter().map(joined).chain([own]).filter_map(Result::err).min_by_key(|(at, _)| *at)
    });
    found.map_or(Ok(()), |(_, error)| Err(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many functions, of which these are not valid.
    fn module(functions: usize, broken: &[usize]) -> Vec<u8> {
        let body = |at| if broken.contains(&at) { "(i64.const 1)" } else { "(i32.const 1)" };
        let functions: String =
            (0..functions).map(|at| format!("(func (result i32) {})", body(at))).collect();
        wat::parse_str(format!("(module {functions})")).unwrap()
    }

    #[test]
    fn the_first_function_that_is_not_valid_is_told_however_many_look() {
        assert!(check_on(4, &module(3000, &[])).is_ok());
        let offset = |bytes: &[u8]| match check_on(4, bytes).map_err(|invalid| invalid.told(bytes)) {
            Err(AdmitError::Malformed { at, .. }) => at,
            other => panic!("{other:?}"),
        };
        let first = offset(&module(3000, &[700]));
        for _ in 0..50 {
            assert_eq!(offset(&module(3000, &[700, 701, 1400, 2999])), first);
        }
        assert!(offset(&module(3000, &[699])) < first && offset(&module(1, &[0])) < first);
    }

    #[test]
    fn what_is_valid_is_looked_at_once_and_what_is_not_each_time() {
        let (valid, good, bad) = (Mutex::new(Lately(VecDeque::new())), module(1, &[]), module(1, &[0]));
        for _ in 0..2 {
            assert!(check_unless(&valid, &bad, "digest").is_err());
        }
        assert!(check_unless(&valid, &good, "digest").is_ok());
        // Bytes go by the digest that who asks has made of them: these are not looked at.
        assert!(check_unless(&valid, &bad, "digest").is_ok());
        assert!(check_unless(&valid, &bad, "another").is_err());
    }

    #[test]
    fn the_oldest_is_forgotten_first() {
        let mut lately = Lately(VecDeque::new());
        for number in 0..=REMEMBERED {
            lately.add(&number.to_string());
            lately.add(&number.to_string());
        }
        assert_eq!(lately.0.len(), REMEMBERED);
        assert!(!lately.has("0") && lately.has("1") && lately.has(&REMEMBERED.to_string()));
    }
}
