//! What several suites run on: a store, a plain config, and tests that run on both stores.

use std::path::PathBuf;

use jobcell_tests::{RedisServer, Site};

/// One queue, `work`, whose every job goes to the guest `basic`.
pub(crate) const BASIC: &str = r#"
[queues.work]
handler = "basic"
concurrency = 4
[handlers.basic]
source = "${basic}"
"#;

/// The queue `work` served by the guest `capable`, which may talk to the receiver at `url` and use everything else.
pub(crate) fn capable(url: &str) -> String {
    format!(
        r#"
[queues.work]
handler = "capable"
concurrency = 4
lock = "1s"
stalled-interval = "1s"
max-stalled = 3
[queues.other]
handler = "basic"
[handlers.basic]
source = "${{basic}}"
[handlers.capable]
source = "${{capable}}"
[handlers.capable.grants]
http = [{{ url = "{url}/", private = true, secrets = ["key"] }}]
blobs = ["files"]
cache = true
kv = ["media", "tally"]
enqueue = ["other"]
publish = ["updates"]
config = {{ colour = "green" }}
secrets = ["key", {{ name = "open", reveal = true }}]
[secrets]
key = {{ env = "TEST_KEY" }}
open = {{ file = "open.txt" }}
[blobs.files]
url = "file://${{site}}/files"
"#
    )
}

/// A site for [`capable`].
pub(crate) fn capable_site(stage: &Stage, url: &str) -> Site {
    let site = stage.site(&capable(url)).env("TEST_KEY", "a key that no handler sees");
    site.write("open.txt", "sesame");
    site.write("files/.keep", "");
    site
}

/// The store that a test runs on.
pub(crate) struct Stage {
    /// The server, where the store is one.
    pub(crate) redis: Option<RedisServer>,
}

impl Stage {
    /// Without a server.
    pub(crate) fn embedded() -> Self {
        Self { redis: None }
    }

    /// With a server of its own.
    pub(crate) fn redis() -> Self {
        Self { redis: Some(RedisServer::start()) }
    }

    /// A site on this store.
    pub(crate) fn site(&self, config: &str) -> Site {
        Site::on(self.redis.as_ref(), config)
    }

    /// Makes a folder beside nothing else, for files that a test compares.
    pub(crate) fn folder(site: &Site, name: &str) -> PathBuf {
        let path = site.path().join(name);
        std::fs::create_dir_all(&path).expect("a folder of the test");
        path
    }
}

/// Makes `name::embedded` and `name::redis` of one test body.
macro_rules! on_both_stores {
    ($($(#[$meta:meta])* fn $name:ident($stage:ident: &Stage) $body:block)*) => {
        $(
            $(#[$meta])*
            mod $name {
                use super::*;

                fn check($stage: &Stage) $body

                #[test]
                fn embedded() {
                    check(&Stage::embedded());
                }

                #[test]
                fn redis() {
                    check(&Stage::redis());
                }
            }
        )*
    };
}
pub(crate) use on_both_stores;
