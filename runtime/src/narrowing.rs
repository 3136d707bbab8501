//! What a version may touch: what it wants and the operator grants.

use jobcell_handlers::Wants;
use jobcell_handlers::wants::{SecretWant, narrow_names};
use jobcell_wasm::{Grants, HttpRule, SecretGrant};

/// The grants that remain for a version that wants so much. Settings are given, not wanted, and stay.
///
/// # Errors
/// When a grant of requests cannot be narrowed; names the grant and why.
pub(crate) fn narrowed(grants: &Grants, wants: &Wants) -> Result<Grants, String> {
    let granted: Vec<SecretWant> =
        grants.secrets.iter().map(|s| SecretWant { name: s.name.clone(), reveal: s.reveal }).collect();
    let secrets: Vec<SecretGrant> = wants
        .narrow_secrets(&granted)
        .into_iter()
        .map(|SecretWant { name, reveal }| SecretGrant { name, reveal })
        .collect();
    let mut http: Vec<HttpRule> = Vec::new();
    for rule in &grants.http {
        let fault = |fault: &dyn std::fmt::Display| {
            format!("grants.http {:?} cannot be narrowed: {fault}", rule.url())
        };
        let methods = rule.methods();
        let kept = wants.narrow_http(rule.url(), methods.as_deref()).map_err(|cause| fault(&cause))?;
        for (url, methods) in kept {
            let keeps = |name: &str| secrets.iter().any(|secret| secret.name == name);
            http.push(rule.narrowed(&url, methods, keeps).map_err(|cause| fault(&cause))?);
        }
    }
    Ok(Grants {
        http,
        blobs: narrow_names(&grants.blobs, &wants.blobs),
        cache: grants.cache && wants.cache,
        kv: narrow_names(&grants.kv, &wants.kv),
        enqueue: narrow_names(&grants.enqueue, &wants.enqueue),
        publish: narrow_names(&grants.publish, &wants.publish),
        config: grants.config.clone(),
        secrets,
        refused: grants.refused.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use jobcell_wasm::Need;

    #[test]
    fn a_version_touches_what_it_wants_and_is_granted_and_nothing_else() {
        let grants: Grants = serde_json::from_value(serde_json::json!({
            "http": [{ "url": "https://api.example.com", "secrets": ["key", "other"] }],
            "blobs": ["a", "b"], "cache": true, "kv": ["tally"], "enqueue": ["mail-*"],
            "publish": [], "config": { "colour": "green" },
            "secrets": ["key", "other", { "name": "open", "reveal": true }]
        }))
        .unwrap();
        let wants: Wants = serde_json::from_value(serde_json::json!({
            "http": [{ "url": "https://api.example.com/v1/*", "methods": ["GET"] }],
            "blobs": ["b", "c"], "enqueue": ["mail-de"], "secrets": ["key", "open"]
        }))
        .unwrap();
        let narrowed = narrowed(&grants, &wants).unwrap();
        assert_eq!((narrowed.blobs, narrowed.cache, narrowed.kv.len()), (vec!["b".to_owned()], false, 0));
        assert_eq!(narrowed.enqueue, ["mail-de"]);
        assert_eq!(narrowed.config, grants.config);
        assert_eq!(narrowed.publish.len(), 0);
        assert_eq!(Vec::from_iter(narrowed.refused), [Need::Publish], "only what the operator wrote so");
        let secrets: Vec<_> = narrowed.secrets.iter().map(|s| (s.name.as_str(), s.reveal)).collect();
        assert_eq!(secrets, [("key", false), ("open", false)], "seen only where both say so");
        let [rule] = &narrowed.http[..] else { panic!("{:?}", narrowed.http) };
        assert_eq!(
            (rule.url(), rule.methods()),
            ("https://api.example.com/v1/*", Some(vec!["GET".to_owned()]))
        );
        assert_eq!(
            narrowed_of_everything(&grants),
            grants,
            "a component that says nothing wants everything that it imports"
        );
    }

    fn narrowed_of_everything(grants: &Grants) -> Grants {
        use jobcell_handlers::wants::Capability::{Blobs, Cache, Enqueue, Http, Kv, Publish, Secrets};
        narrowed(grants, &Wants::of(&[Http, Blobs, Cache, Kv, Enqueue, Publish, Secrets])).unwrap()
    }
}
