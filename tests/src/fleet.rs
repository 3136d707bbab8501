//! Redis as it is run in earnest: behind sentinels, as a cluster, with TLS.

mod certificates;
mod cluster;
mod node;
mod sentinels;

pub use certificates::{Certificates, Identity};
pub use cluster::RedisCluster;
pub use node::RedisNode;
pub use sentinels::RedisSentinels;
