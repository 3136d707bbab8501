//! The poison guard's memory: attempts of one job that broke in the same way, one after the other.
//!
//! A handler that runs out of memory, traps or panics at the same place again and again does so because of the job, and
//! costs a cell each time. Failures that a handler reports by itself do not count: it may wait for somebody else.

use std::fmt;
use std::str::FromStr;

use crate::outcome::{Outcome, StopCause, Stopped};

/// The most of a place that is kept, in bytes.
const PLACE_BYTES_MAX: usize = 160;

/// How often in a row a job broke in the same way. As text `2 panic in basic!boom`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crashes {
    /// How often, at least 1.
    pub count: u64,
    /// The way: cause and place, the same text for the same way.
    pub way: String,
}

impl Crashes {
    /// What `before` becomes with this outcome. None when it is no crash.
    #[must_use]
    pub fn after(before: Option<&Self>, outcome: &Outcome) -> Option<Self> {
        let Outcome::Stopped(stopped) = outcome else { return None };
        let way = way(stopped)?;
        let count = before.filter(|before| before.way == way).map_or(0, |before| before.count);
        Some(Self { count: count.saturating_add(1), way })
    }
}

impl fmt::Display for Crashes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { count, way } = self;
        write!(f, "{count} {way}")
    }
}

impl FromStr for Crashes {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (count, way) = text.split_once(' ').ok_or(())?;
        let count = count.parse().map_err(drop)?;
        if count == 0 || way.is_empty() {
            return Err(());
        }
        Ok(Self { count, way: way.to_owned() })
    }
}

/// How an attempt took its cell down; none when it was ended for another reason.
fn way(stopped: &Stopped) -> Option<String> {
    let Stopped { cause, reason, backtrace } = stopped;
    match cause {
        StopCause::Memory
        | StopCause::Stack
        | StopCause::Panic
        | StopCause::Trap
        | StopCause::Abi
        | StopCause::HostCall
        | StopCause::Resources
        | StopCause::Host => {}
        // Time depends on others; a result or payload is judged outside of the cell; the rest was asked for.
        StopCause::Deadline
        | StopCause::Cpu
        | StopCause::Result
        | StopCause::Payload
        | StopCause::Cancelled
        | StopCause::Shutdown
        | StopCause::LockLost => return None,
    }
    // A panic says itself where it happened; the frames above that are the language's.
    let told = reason.split_once("panicked at ").and_then(|(_, place)| place.split(": ").next());
    let place = match (told, backtrace.iter().find(|frame| is_own(frame))) {
        (Some(place), _) if *cause == StopCause::Panic => format!("at {}", cut(place)),
        (_, Some(frame)) => format!("in {}", cut(frame)),
        (_, None) => format!("({})", cut(&without_numbers(reason))),
    };
    Some(format!("{} {place}", cause.as_str()))
}

/// Functions of languages and their allocators: they stand innermost in any handler, whatever went wrong.
const LANGUAGE: [&str; 9] =
    ["function ", "core::", "alloc::", "std::", "dlmalloc", "sbrk", "malloc", "__rust", "rust_"];

/// Whether this frame is of the handler's own code.
fn is_own(frame: &str) -> bool {
    let function = frame.rsplit_once('!').map_or(frame, |(_, function)| function);
    let function = function.trim_start_matches(['<', '&', '(']);
    !LANGUAGE.iter().any(|start| function.starts_with(start))
}

/// The class of a reason: sizes and addresses differ from one time to the next.
fn without_numbers(reason: &str) -> String {
    let mut class = String::with_capacity(reason.len());
    for c in reason.lines().next().unwrap_or_default().chars() {
        if !c.is_ascii_digit() {
            class.push(c);
        } else if !class.ends_with('#') {
            class.push('#');
        }
    }
    class
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(PLACE_BYTES_MAX)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broke(cause: StopCause, reason: &str, backtrace: &[&str]) -> Outcome {
        let backtrace = backtrace.iter().map(|&frame| frame.to_owned()).collect();
        Outcome::Stopped(Stopped { cause, reason: reason.to_owned(), backtrace })
    }

    #[test]
    fn the_same_way_counts_up_and_another_begins_anew() {
        let frames = ["m!<function 9>", "m!boom", "m!main"];
        let first = Crashes::after(None, &broke(StopCause::Panic, "at 7", &frames)).unwrap();
        assert_eq!(first.to_string(), "1 panic in m!boom");
        let second = Crashes::after(Some(&first), &broke(StopCause::Panic, "at 8", &frames)).unwrap();
        assert_eq!((second.count, &second.way), (2, &first.way));
        for other in [broke(StopCause::Trap, "at 7", &frames), broke(StopCause::Panic, "at 7", &["m!other"])]
        {
            assert_eq!(Crashes::after(Some(&second), &other).unwrap().count, 1, "{other:?}");
        }
    }

    #[test]
    fn the_place_is_the_handlers_own() {
        let way = |cause, reason: &str, frames: &[&str]| {
            Crashes::after(None, &broke(cause, reason, frames)).unwrap().way
        };
        let shim = "h.wasm!core::ops::function::FnOnce::call_once";
        let panicked = "the handler panicked at src/lib.rs:18:5: oh no: 7";
        assert_eq!(way(StopCause::Panic, panicked, &[shim, "h.wasm!h::run"]), "panic at src/lib.rs:18:5");
        let frames = ["h.wasm!sbrk", "h.wasm!<alloc::vec::Vec<u8>>::push", shim, "h.wasm!h::run"];
        assert_eq!(way(StopCause::Memory, "the limit", &frames), "memory in h.wasm!h::run");
        assert_eq!(way(StopCause::Memory, "of 16 MiB", &frames[..3]), "memory (of # MiB)");
    }

    #[test]
    fn without_a_named_frame_the_reason_without_its_numbers_is_the_place() {
        let memory =
            |kib: u32| broke(StopCause::Memory, &format!("the limit of 16 MiB: asked for {kib} KiB"), &[]);
        let first = Crashes::after(None, &memory(16_448)).unwrap();
        assert_eq!(first.way, "memory (the limit of # MiB: asked for # KiB)");
        assert_eq!(Crashes::after(Some(&first), &memory(20_000)).unwrap().count, 2);
    }

    #[test]
    fn only_what_takes_a_cell_down_counts() {
        let counted: Vec<StopCause> = StopCause::ALL
            .into_iter()
            .filter(|cause| Crashes::after(None, &broke(*cause, "why", &[])).is_some())
            .collect();
        use StopCause::*;
        assert_eq!(counted, [Memory, Stack, Panic, Trap, Abi, HostCall, Resources, Host]);
        for outcome in [Outcome::Fatal("x".into()), Outcome::Retry { reason: "x".into(), after: None }] {
            assert_eq!(Crashes::after(None, &outcome), None);
        }
    }

    #[test]
    fn the_text_reads_back_and_stays_short() {
        let long = "é".repeat(4096);
        let crashes = Crashes::after(None, &broke(StopCause::Trap, &long, &[])).unwrap();
        assert!(crashes.way.len() < 200, "{}", crashes.way.len());
        assert_eq!(crashes.to_string().parse(), Ok(crashes));
        for bad in ["", "2", "x panic", "0 panic", "2 "] {
            assert!(bad.parse::<Crashes>().is_err(), "{bad:?}");
        }
    }
}
