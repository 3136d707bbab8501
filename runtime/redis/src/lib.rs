//! Jobcell over Redis: the only crate that knows it.
//!
//! [`BullStore`] is the job store in the layout of BullMQ's keys, with scripts of our own, so that queues can be shared
//! with any BullMQ client of 5.56 to 6.x. [`RedisCache`] and [`RedisPublisher`] back the capabilities of those names.
//! All three speak over one [`Redis`]: a single connection that many calls share and that comes back by itself. Only
//! what blocks (waiting for work, reading events) has a connection of its own.

mod bullmq;
mod cache;
mod connect;
mod error;
mod keys;
mod link;
mod publish;
mod reply;
mod script;

pub use bullmq::{BullStore, StoreOptions};
pub use cache::RedisCache;
pub use connect::{ConnectError, ConnectOptions};
pub use link::Redis;
pub use publish::RedisPublisher;
