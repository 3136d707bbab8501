//! What a version wants to touch, and what that means beside what another one wants and what the operator grants.
//!
//! A want is a line such as `kv media` or `http https://api.example.com/v1/* (GET)`. A name may be a beginning followed
//! by `*`; `*` alone is every one that is granted. Wants give nothing: a cell may touch what its version wants *and* the
//! operator grants ([`Wants::within`]). Settings (`grants.config`) are no want: they are given, and touch nothing.

mod http;
mod names;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

pub use http::{HttpWant, HttpWantError};
pub use names::narrow as narrow_names;

/// Something that a handler can be granted, as its imports show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Capability {
    /// Outgoing requests.
    Http,
    /// Blob stores.
    Blobs,
    /// The cache.
    Cache,
    /// Buckets of the key-value store.
    Kv,
    /// Queues to put jobs on.
    Enqueue,
    /// Channels to publish to.
    Publish,
    /// Secrets.
    Secrets,
}

/// What a version wants to touch: the `wants` of its manifest, written like `[handlers.NAME.grants]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub struct Wants {
    /// Where requests go.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub http: Vec<HttpWant>,
    /// Blob stores.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub blobs: Vec<String>,
    /// The cache.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub cache: bool,
    /// Buckets of the key-value store.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kv: Vec<String>,
    /// Queues that jobs are put on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub enqueue: Vec<String>,
    /// Channels that are published to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub publish: Vec<String>,
    /// Secrets that are used.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<SecretWant>,
}

/// One secret that is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "SecretForm", into = "SecretForm")]
pub struct SecretWant {
    /// Its name, a beginning followed by `*`, or `*`.
    pub name: String,
    /// Whether it wants to see it, not only to hash with it and place it into requests.
    pub reveal: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum SecretForm {
    Name(String),
    Full(FullSecret),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FullSecret {
    name: String,
    #[serde(default)]
    reveal: bool,
}

/// A URL of a grant that stays allowed, with its methods; none is any.
pub type NarrowedUrl = (String, Option<Vec<String>>);

/// How what a new version wants differs from what the active one wants, in lines.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diff {
    /// What only the new one wants: needs approval.
    pub wider: Vec<String>,
    /// What only the active one wants.
    pub narrower: Vec<String>,
}

// === impl Wants ===

impl Wants {
    /// Everything of these: what a component wants whose manifest does not say.
    #[must_use]
    pub fn of(capabilities: &[Capability]) -> Self {
        let every = || vec![names::EVERY.to_owned()];
        let mut wants = Self::default();
        for capability in capabilities {
            match capability {
                Capability::Http => wants.http = vec![HttpWant::anywhere()],
                Capability::Blobs => wants.blobs = every(),
                Capability::Cache => wants.cache = true,
                Capability::Kv => wants.kv = every(),
                Capability::Enqueue => wants.enqueue = every(),
                Capability::Publish => wants.publish = every(),
                Capability::Secrets => {
                    wants.secrets = vec![SecretWant { name: names::EVERY.to_owned(), reveal: true }];
                }
            }
        }
        wants
    }

    /// Whether nothing is wanted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// One line for each want.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.beyond(&Self::default())
    }

    /// The lines of what is wanted here and not covered by the other.
    #[must_use]
    pub fn beyond(&self, other: &Self) -> Vec<String> {
        let Self { http, blobs, cache, kv, enqueue, publish, secrets } = self;
        let mut lines: Vec<String> =
            http.iter().filter_map(|want| want.beyond(&other.http)).map(|want| want.to_string()).collect();
        let mut named = |kind: &str, wanted: &[String], others: &[String]| {
            let beyond = wanted.iter().filter(|name| !names::is_covered(others, name));
            lines.extend(beyond.map(|name| format!("{kind} {name}")));
        };
        named("blobs", blobs, &other.blobs);
        named("kv", kv, &other.kv);
        named("enqueue", enqueue, &other.enqueue);
        named("publish", publish, &other.publish);
        if *cache && !other.cache {
            lines.push("cache".to_owned());
        }
        let beyond = secrets.iter().filter(|want| !want.is_covered(&other.secrets));
        lines.extend(beyond.map(SecretWant::line));
        lines.into_iter().collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// What is both wanted here and granted there.
    #[must_use]
    pub fn within(&self, granted: &Self) -> Self {
        let narrow = |of: fn(&Self) -> &Vec<String>| names::narrow(of(granted), of(self));
        let http = granted.http.iter().flat_map(|granted| granted.narrowed(&self.http)).collect();
        Self {
            http,
            blobs: narrow(|wants| &wants.blobs),
            cache: self.cache && granted.cache,
            kv: narrow(|wants| &wants.kv),
            enqueue: narrow(|wants| &wants.enqueue),
            publish: narrow(|wants| &wants.publish),
            secrets: self.narrow_secrets(&granted.secrets),
        }
    }

    /// Of a grant of requests what is wanted: the URLs that stay allowed. All of them keep whatever else the grant says.
    ///
    /// # Errors
    /// When the URL is no rule's.
    pub fn narrow_http(
        &self,
        url: &str,
        methods: Option<&[String]>,
    ) -> Result<Vec<NarrowedUrl>, HttpWantError> {
        // The grant as it is, whatever forms of URLs the host takes besides.
        if self.http.contains(&HttpWant::anywhere()) {
            return Ok(vec![(url.to_owned(), methods.map(<[String]>::to_vec))]);
        }
        let granted = HttpWant::new(url, methods.unwrap_or_default())?;
        let narrowed = granted.narrowed(&self.http);
        Ok(narrowed.into_iter().map(|want| (want.url(), want.methods())).collect())
    }

    /// Of granted secrets what is wanted; one is seen only where both say so.
    #[must_use]
    pub fn narrow_secrets(&self, granted: &[SecretWant]) -> Vec<SecretWant> {
        let mut narrowed: Vec<SecretWant> = Vec::new();
        for granted in granted {
            for wanted in &self.secrets {
                let Some(name) = names::meet(&granted.name, &wanted.name) else { continue };
                let reveal = granted.reveal && wanted.reveal;
                match narrowed.iter_mut().find(|kept| kept.name == name) {
                    Some(kept) => kept.reveal |= reveal,
                    None => narrowed.push(SecretWant { name: name.to_owned(), reveal }),
                }
            }
        }
        narrowed
    }

    /// Every name in it, for checks of their form.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        let Self { http: _, blobs, cache: _, kv, enqueue, publish, secrets } = self;
        let names = [blobs, kv, enqueue, publish].into_iter().flatten().map(String::as_str);
        names.chain(secrets.iter().map(|want| want.name.as_str()))
    }
}

// === impl SecretWant ===

impl SecretWant {
    fn line(&self) -> String {
        let Self { name, reveal } = self;
        if *reveal { format!("secret {name}, revealed") } else { format!("secret {name}") }
    }

    fn is_covered(&self, others: &[Self]) -> bool {
        let covers = |other: &Self| names::covers(&other.name, &self.name) && (other.reveal || !self.reveal);
        others.iter().any(covers)
    }
}

impl From<SecretForm> for SecretWant {
    fn from(form: SecretForm) -> Self {
        match form {
            SecretForm::Name(name) => Self { name, reveal: false },
            SecretForm::Full(FullSecret { name, reveal }) => Self { name, reveal },
        }
    }
}

impl From<SecretWant> for SecretForm {
    fn from(SecretWant { name, reveal }: SecretWant) -> Self {
        if reveal { Self::Full(FullSecret { name, reveal }) } else { Self::Name(name) }
    }
}

// === impl Diff ===

impl Diff {
    /// From what the active version wants, nothing where there is none, to what the new one wants.
    #[must_use]
    pub fn between(active: Option<&Wants>, new: &Wants) -> Self {
        let nothing = Wants::default();
        let active = active.unwrap_or(&nothing);
        Self { wider: new.beyond(active), narrower: active.beyond(new) }
    }
}

#[cfg(test)]
mod tests;
