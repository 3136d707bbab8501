//! Guests that attack their host, and the arena in which they are let loose.
//!
//! The [`catalogue`] has at least one guest for every row of the classes of attack: what is fed to the compiler (C),
//! time (T), memory (M), output (O), the network (N), and files, environment and the rest (F). Each says how a host
//! that holds may end it. The [`Arena`] runs one in a cell, with the limits and grants of a real handler and services
//! that are nobody's, and judges what came of it: the end, the time it took, what was written, what was reached and
//! what was left behind.
//!
//! The same catalogue is run by this crate's suite and by `jobcell doctor --attack`, so that what is tested here is
//! what a user can see hold.
//!
//! The guests are core modules in text under `guests/`, made into components when this crate is built, and bytes made
//! by code where a text would be megabytes ([`bombs`]).

mod arena;
mod bombs;
mod guest;
mod judge;
mod profile;
mod receivers;
mod requests;
mod services;
mod vitals;

pub use arena::{Arena, ArenaError, Bout};
pub use guest::{Guest, Holds, Payload, ROWS, Wasm, catalogue, embedded_bytes};
pub use judge::{End, Verdict};
pub use profile::Profile;
pub use vitals::Vitals;
