//! Jobcell over Redis: the only crate that knows it.
//!
//! [`BullStore`] is the job store in the layout of BullMQ's keys, with scripts of our own, so that queues can be shared
//! with any BullMQ client of 5.56 to 6.x; [`ListStore`] is one for a queue that is a plain list. [`RedisCache`],
//! [`RedisKeyValue`] and [`RedisPublisher`] back the capabilities of those names, [`RedisDocuments`] what hosts share.
//! All speak over one [`Redis`], however it is run: one server, the master that sentinels name, or a cluster. Calls
//! share a single connection to each server, which comes back by itself. Only what blocks (waiting for work, reading
//! events) has a connection of its own.

mod bullmq;
mod cache;
mod connect;
mod documents;
mod elsewhere;
mod error;
#[doc(hidden)]
pub mod fuzzing;
mod health;
mod keys;
mod keyvalue;
mod link;
mod list;
mod permissions;
mod publish;
mod reply;
mod script;

pub use bullmq::{BullStore, StoreOptions};
pub use cache::RedisCache;
pub use connect::{ConnectError, ConnectOptions, Resolve, Said};
pub use documents::RedisDocuments;
pub use keyvalue::{RedisKeyRange, RedisKeyValue};
pub use link::Redis;
pub use list::{ListOptions, ListStore};
pub use publish::RedisPublisher;
