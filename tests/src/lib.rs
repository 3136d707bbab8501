//! The harness of the end-to-end suites: real programs on loopback, each in a folder of its own.
//!
//! A test makes a [`Site`] (a folder with a `jobcell.toml`), maybe a [`RedisServer`], a [`Receiver`] for outgoing
//! requests and [`Bull`] for the real BullMQ, then runs the `jobcell` program in the site: one command at a time
//! through [`Site::cli`], or a long-lived [`Host`]. Everything is stopped when it is dropped, every wait has an end,
//! and a failure prints what the programs said.
//!
//! The programs come from `cargo xtask test` through the environment; without it (one suite run by hand) they are
//! built on first use, see [`artifacts`].

pub mod artifacts;
mod bull;
mod cli;
mod client;
pub mod fleet;
mod host;
mod ledger;
pub mod parity;
mod ports;
mod process;
mod proxy;
mod receiver;
mod redis;
mod resp;
mod site;
mod storage;
mod story;
pub mod wait;

pub use bull::Bull;
pub use cli::Ran;
pub use client::Client;
pub use host::Host;
pub use ledger::Ledger;
pub use proxy::{Proxy, Way};
pub use receiver::{Answer, Heard, Receiver};
pub use redis::RedisServer;
pub use resp::{Resp, Value};
pub use site::Site;
pub use storage::Storage;
pub use story::tells;
