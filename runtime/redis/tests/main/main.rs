//! The store against a real Redis that the tests start: keys, fields and events as BullMQ's clients expect them.

#![expect(clippy::unwrap_used, reason = "in a test a failed expectation is the report")]

mod server;

mod adding;
mod administration;
mod cache;
mod claiming;
mod conforming;
mod connections;
mod family;
mod finishing;
mod foreign;
mod limits;
mod survival;
