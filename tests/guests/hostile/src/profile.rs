//! Under which limits and grants a guest is let loose.

use jobcell_wasm::{Grants, Limits};

use crate::receivers::Addresses;

/// Limits and grants, as one handler has them.
#[derive(Debug, Clone)]
pub struct Profile {
    /// What it is called in reports: a handler's name.
    pub name: String,
    /// What one attempt may use.
    pub limits: Limits,
    /// What it may touch.
    pub grants: Grants,
    /// Whether its guests run code of the baseline compiler, where the engine offers it.
    pub baseline: bool,
}

impl Profile {
    /// Whether a guest that needs this grant may be admitted and come to its attack.
    pub(crate) fn grants(&self, need: &str) -> bool {
        let Grants { http, blobs, cache, kv, enqueue, publish, config: _, secrets, refused: _ } =
            &self.grants;
        match need {
            "http" => !http.is_empty(),
            "blobs" => !blobs.is_empty(),
            "cache" => *cache,
            "kv" => !kv.is_empty(),
            "enqueue" => !enqueue.is_empty(),
            "publish" => !publish.is_empty(),
            "secrets" => !secrets.is_empty(),
            _ => false,
        }
    }
}

/// Every grant there is, each for one thing: what a guest must not get beyond it shows only where it gets something.
pub(crate) fn grants(addresses: &Addresses) -> Result<Grants, serde_json::Error> {
    let Addresses { open, shut } = addresses;
    let port = shut.port();
    serde_json::from_value(serde_json::json!({
        "http": [
            { "url": format!("http://{open}/"), "private": true },
            "http://granted.example",
            // Any public host: what keeps these from the private ones is the address alone.
            "http://*",
            format!("http://*:{port}"),
        ],
        "blobs": ["files"],
        "cache": true,
        "enqueue": ["granted"],
        "publish": ["updates"],
        "config": { "colour": "green" },
        "secrets": ["canary"],
    }))
}
