//! The guests: which attack each is, how it may end, and where its bytes come from.

use std::borrow::Cow;

use crate::requests::{self, Asked};
use crate::{bombs, receivers::Addresses};

/// One guest.
#[derive(Debug, Clone)]
pub struct Guest {
    /// The class of attack, such as `M2`; see [`ROWS`].
    pub row: &'static str,
    /// Its name, unique.
    pub name: &'static str,
    /// What it does, in one line.
    pub what: &'static str,
    /// The advisory of the engine whose return it would show.
    pub advisory: Option<&'static str>,
    /// The ends that a host may bring it to: `completed`, `failed` (by its own word), `refused` (at admission), or the
    /// name of a cause of [`jobcell_core::StopCause`].
    pub ends: &'static [&'static str],
    /// Grants without which admission refuses it: keys of the grants table.
    pub needs: &'static [&'static str],
    /// What is looked at beside its end.
    pub holds: Holds,
    /// What its job carries.
    pub payload: Payload,
    /// How many of it run at the same time.
    pub at_once: u32,
    /// Its component.
    pub wasm: Wasm,
}

/// What is looked at beside a guest's end. What holds for all guests is always looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    /// Nothing more.
    Nothing,
    /// Every key it stored is within the part of its handler and tenant.
    Keys,
    /// No job got on a queue that it was not granted.
    Queues,
    /// It enqueued no more jobs than its limit.
    Enqueued,
    /// No text that leaves the cell has the secret in it.
    Secrets,
    /// It reached nothing that it may not reach.
    Shut,
    /// It can be cancelled or dropped at any of its waits, and is.
    AnyWait,
    /// It connected to what it was granted at most so often.
    OpenAtMost(u32),
}

/// What a guest's job carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Payload {
    /// `{}`.
    Json,
    /// The port of the listener that must not be reached, as two bytes.
    Port,
    /// Requests for the guest `fetch` to send.
    Requests(Asked),
}

/// A guest's component.
#[derive(Debug, Clone, Copy)]
pub enum Wasm {
    /// Part of this program.
    Embedded(&'static [u8]),
    /// Made when it is needed.
    Made(fn() -> Vec<u8>),
}

/// Every class of attack: its row, and what it is.
pub const ROWS: [(&str, &str); 48] = [
    ("C1", "compile bombs"),
    ("C2", "too large, or too much of one thing"),
    ("C3", "deep and wide types"),
    ("C4", "too many instances, memories, tables"),
    ("C5", "machine code instead of WebAssembly"),
    ("C6", "proposals that are switched off"),
    ("C7", "hostile custom sections"),
    ("C8", "code that runs while the cell is made"),
    ("T1", "endless computing"),
    ("T2", "starving other work"),
    ("T3", "long instructions"),
    ("T4", "waiting for ever in host calls"),
    ("T5", "being ended at any wait"),
    ("T6", "ways around the meter"),
    ("T7", "timers and polls without end"),
    ("M1", "memory"),
    ("M2", "tables"),
    ("M3", "lying and huge arguments and results"),
    ("M4", "handles"),
    ("M5", "resources of the host"),
    ("M6", "buffers of the host"),
    ("M7", "random bytes"),
    ("M8", "the stack"),
    ("M9", "the pool of cells"),
    ("M10", "what an earlier cell left"),
    ("M11", "all cells at their limit"),
    ("O1", "floods of log lines"),
    ("O2", "control characters and forged lines"),
    ("O3", "labels of metrics"),
    ("O4", "progress and payload"),
    ("O5", "keys, queues and files of others"),
    ("O6", "secrets in texts"),
    ("N1", "private addresses"),
    ("N2", "names that lead to private addresses"),
    ("N3", "redirects"),
    ("N4", "addresses and requests that are read in two ways"),
    ("N5", "headers that are the host's"),
    ("N6", "requests, connections and bytes without end"),
    ("N7", "sockets"),
    ("N8", "telling by name look-ups"),
    ("F1", "the file system"),
    ("F2", "environment and arguments"),
    ("F3", "the old WASI"),
    ("F4", "precise clocks"),
    ("F5", "bugs of compilers"),
    ("F6", "code of another engine"),
    ("F7", "grants of another version"),
    ("F8", "re-entrance"),
];

const TEXTS: &[Guest] = &include!(concat!(env!("OUT_DIR"), "/guests.rs"));

/// The guest that sends requests; it takes part once for each of them.
const CLIENT: &str = "fetch";

/// Every guest, in the order of the rows.
#[must_use]
pub fn catalogue() -> Vec<Guest> {
    let client = TEXTS.iter().find(|guest| guest.name == CLIENT);
    let mut all: Vec<Guest> = TEXTS.iter().filter(|guest| guest.name != CLIENT).cloned().collect();
    all.extend(bombs::BOMBS.iter().cloned());
    all.extend(client.into_iter().flat_map(|client| requests::of(client.wasm)));
    let place = |row: &str| ROWS.iter().position(|(known, _)| *known == row).unwrap_or(ROWS.len());
    all.sort_by_key(|guest| place(guest.row));
    all
}

/// Bytes of all components that are part of this program.
#[must_use]
pub fn embedded_bytes() -> usize {
    let size = |guest: &Guest| match guest.wasm {
        Wasm::Embedded(bytes) => bytes.len(),
        Wasm::Made(_) => 0,
    };
    TEXTS.iter().map(size).sum::<usize>() + bombs::frame_bytes()
}

impl Wasm {
    /// The component.
    #[must_use]
    pub fn bytes(&self) -> Cow<'static, [u8]> {
        match self {
            Self::Embedded(bytes) => Cow::Borrowed(bytes),
            Self::Made(make) => Cow::Owned(make()),
        }
    }
}

impl Payload {
    pub(crate) fn bytes(&self, addresses: &Addresses) -> Vec<u8> {
        match self {
            Self::Json => b"{}".to_vec(),
            Self::Port => addresses.shut.port().to_le_bytes().to_vec(),
            Self::Requests(asked) => asked.bytes(addresses),
        }
    }
}
