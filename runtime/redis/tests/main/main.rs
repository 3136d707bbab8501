//! The store against a real Redis that the tests start: keys, fields and events as BullMQ's clients expect them.

#![expect(clippy::unwrap_used, reason = "in a test a failed expectation is the report")]

mod proxy;
mod sentinel;
mod server;

mod acl;
mod adding;
mod administration;
mod bulk;
mod cache;
mod claiming;
mod cluster;
mod conforming;
mod connections;
mod documents;
mod family;
mod finishing;
mod foreign;
mod keyvalue;
mod limits;
mod list;
mod ranges;
mod scheduling;
mod survival;
mod tls;
mod trees;
