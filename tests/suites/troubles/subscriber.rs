//! Pub/sub on one connection: somebody lends a connection on which another client has subscribed.

use jobcell_tests::RedisServer;

use super::fake::Fake;
use super::{site, told};

#[test]
fn shared_connection() {
    let redis = RedisServer::start();
    for leaks in [false, true] {
        let pooler = Fake::pooler(redis.port(), leaks);
        told("subscriber::shared_connection", &site(&[("REDIS_URL", &pooler.url())]), 69);
        // With a database or a password Redis refuses already that.
        told("subscriber::shared_connection", &site(&[("REDIS_URL", &format!("{}/3", pooler.url()))]), 69);
    }
}
