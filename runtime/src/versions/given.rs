//! What the configuration of a host gives its handlers: grants, limits, and the rules of canaries. It may be read again
//! while the host runs.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use jobcell_handlers::CanaryRules;
use jobcell_wasm::{Grants, Limits};
use serde_json::{Value, json};

use crate::config::Config;

/// Of every handler, by name.
#[derive(Debug)]
pub(super) struct Given(RwLock<BTreeMap<String, Handler>>);

#[derive(Debug)]
struct Handler {
    rules: CanaryRules,
    granted: Vec<String>,
    limits: Value,
}

// === impl Given ===

impl Given {
    pub(super) fn by(config: &Config) -> Self {
        Self(RwLock::new(read(config)))
    }

    /// By another configuration from now on.
    pub(super) fn replace(&self, config: &Config) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = read(config);
    }

    /// The rules of the handler's canaries where nobody says others.
    pub(super) fn rules(&self, handler: &str) -> CanaryRules {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        all.get(handler).map(|handler| handler.rules).unwrap_or_default()
    }

    /// Writes into the handler's view what this host grants and allows it.
    pub(super) fn tell(&self, handler: &str, view: &mut Value) {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if let (Some(Handler { granted, limits, .. }), Some(view)) = (all.get(handler), view.as_object_mut())
        {
            view.insert("granted".to_owned(), json!(granted));
            view.insert("limits".to_owned(), limits.clone());
        }
    }
}

fn read(config: &Config) -> BTreeMap<String, Handler> {
    let given = |handler: &crate::config::HandlerConfig| Handler {
        rules: handler.canary.rules,
        granted: lines(&handler.grants),
        limits: limits(&handler.limits),
    };
    config.handlers.iter().map(|(name, handler)| (name.clone(), given(handler))).collect()
}

/// One line for each grant, worded as wants are. Settings are left out: their values may be anything.
fn lines(grants: &Grants) -> Vec<String> {
    let Grants { http, blobs, cache, kv, enqueue, publish, config: _, secrets, refused } = grants;
    let http = http.iter().map(|rule| match rule.methods() {
        Some(methods) => format!("http {} ({})", rule.url(), methods.join(", ")),
        None => format!("http {}", rule.url()),
    });
    let named = [("blobs", blobs), ("kv", kv), ("enqueue", enqueue), ("publish", publish)];
    let named =
        named.into_iter().flat_map(|(kind, names)| names.iter().map(move |name| format!("{kind} {name}")));
    let secrets = secrets.iter().map(|secret| {
        let how = if secret.reveal { ", revealed" } else { "" };
        format!("secret {}{how}", secret.name)
    });
    let refused = refused.iter().map(|need| format!("{} (nothing)", need.key()));
    http.chain(named).chain(cache.then(|| "cache".to_owned())).chain(secrets).chain(refused).collect()
}

/// The limits that people ask about: what most often ends an attempt.
fn limits(limits: &Limits) -> Value {
    let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    json!({
        "memoryBytes": limits.memory,
        "deadlineMs": ms(limits.deadline),
        "cpuMs": ms(limits.cpu),
        "payloadBytes": limits.payload,
        "resultBytes": limits.result,
        "requests": limits.http.requests,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{FileChoice, Request, load};

    fn config(memory: &str) -> Config {
        let toml = format!(
            "[handlers.media]\nsource = \"store\"\nlimits = {{ memory = \"{memory}\", deadline = \"3s\" }}\n\
             [handlers.media.grants]\ncache = true\nkv = [\"tally\"]\npublish = []\n\
             http = [{{ url = \"https://a.example/*\", methods = [\"GET\"] }}]\n"
        );
        load(&Request { file: FileChoice::Text("jobcell.toml".into(), toml), ..Request::default() }).unwrap()
    }

    #[test]
    fn a_view_has_what_the_configuration_of_now_gives() {
        let given = Given::by(&config("16MiB"));
        let view = || {
            let mut view = json!({"name": "media"});
            given.tell("media", &mut view);
            view
        };
        let before = view();
        assert_eq!(
            before["granted"],
            json!(["http https://a.example/* (GET)", "kv tally", "cache", "publish (nothing)"])
        );
        assert_eq!(
            (&before["limits"]["memoryBytes"], &before["limits"]["deadlineMs"]),
            (&json!(16 << 20), &json!(3000))
        );
        given.replace(&config("32MiB"));
        assert_eq!(view()["limits"]["memoryBytes"], 32 << 20);
        let mut other = json!({"name": "other"});
        given.tell("other", &mut other);
        assert_eq!(other, json!({"name": "other"}));
    }
}
