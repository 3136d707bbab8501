//! In which places of a request a rule lets a secret stand.
//!
//! A guest decides what it writes where. A secret in a body or a URL can come back: as the content or the name of a
//! stored object, or quoted in an error page. So a rule lets a secret into the headers that carry credentials, and
//! into other places only where it says so.

use http::HeaderName;
use serde::Deserialize;

use super::hooks::is_forbidden;

/// A secret of an `http` grant: `"NAME"`, or `{ name = "NAME", in = ["url", "body", "header:x-token"] }`.
///
/// Without `in` it may stand in the headers of [`RuleSecret::CREDENTIAL_HEADERS`]; with it, in the places listed only.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Form")]
pub struct RuleSecret {
    name: String,
    places: Places,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Places {
    Credentials,
    Listed { url: bool, body: bool, headers: Vec<HeaderName> },
}

/// A place of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place<'a> {
    Url,
    Header(&'a HeaderName),
    Body,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Form {
    Name(String),
    Full(Full),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Full {
    name: String,
    #[serde(rename = "in")]
    places: Option<Vec<String>>,
}

impl TryFrom<Form> for RuleSecret {
    type Error = String;

    fn try_from(form: Form) -> Result<Self, String> {
        match form {
            Form::Name(name) => Self::new(name, None),
            Form::Full(Full { name, places }) => Self::new(name, places.as_deref()),
        }
    }
}

// === impl RuleSecret ===

impl RuleSecret {
    /// The headers in which services take credentials, and which they do not keep as part of what they store.
    pub const CREDENTIAL_HEADERS: [&'static str; 12] = [
        "authorization",
        "api-key",
        "apikey",
        "dd-api-key",
        "private-token",
        "x-access-token",
        "x-api-key",
        "x-auth-token",
        "x-goog-api-key",
        "x-postmark-server-token",
        "x-shopify-access-token",
        "x-vault-token",
    ];

    /// This secret in these places; none given means the headers that carry credentials.
    ///
    /// # Errors
    /// What is wrong with the places, with the fix.
    pub fn new(name: impl Into<String>, places: Option<&[String]>) -> Result<Self, String> {
        let name = name.into();
        let Some(places) = places else { return Ok(Self { name, places: Places::Credentials }) };
        if places.is_empty() {
            return Err(format!(
                "in = [] lets secret {name:?} stand nowhere; leave `in` out, or list places"
            ));
        }
        let (mut url, mut body, mut headers) = (false, false, Vec::new());
        for place in places {
            match (place.as_str(), place.strip_prefix("header:").map(str::parse::<HeaderName>)) {
                ("url", _) => url = true,
                ("body", _) => body = true,
                (_, Some(Ok(header))) if !is_forbidden(&header) => headers.push(header),
                (_, Some(Ok(_))) => {
                    return Err(format!("secret {name:?} in {place:?}: that header is the host's to set"));
                }
                (_, Some(Err(_)) | None) => {
                    return Err(format!(
                        "secret {name:?} in {place:?} is no place; write \"url\", \"body\" or \"header:NAME\""
                    ));
                }
            }
        }
        Ok(Self { name, places: Places::Listed { url, body, headers } })
    }

    /// The secret's name under `[secrets]`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it may stand there.
    pub(crate) fn allows(&self, place: Place<'_>) -> bool {
        match (&self.places, place) {
            (Places::Credentials, Place::Header(header)) => {
                Self::CREDENTIAL_HEADERS.contains(&header.as_str())
            }
            (Places::Credentials, Place::Url | Place::Body) => false,
            (Places::Listed { url, .. }, Place::Url) => *url,
            (Places::Listed { body, .. }, Place::Body) => *body,
            (Places::Listed { headers, .. }, Place::Header(header)) => headers.contains(header),
        }
    }
}

// === impl Place ===

impl Place<'_> {
    /// As it is written in a configuration.
    pub(crate) fn word(self) -> String {
        match self {
            Self::Url => "url".to_owned(),
            Self::Body => "body".to_owned(),
            Self::Header(name) => format!("header:{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::header::{AUTHORIZATION, CONTENT_TYPE};

    use super::*;

    fn secret(json: &str) -> Result<RuleSecret, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn without_places_a_secret_stands_in_credentials_only() {
        let key = secret(r#""key""#).unwrap();
        assert!(key.allows(Place::Header(&AUTHORIZATION)));
        for place in [Place::Url, Place::Body, Place::Header(&CONTENT_TYPE)] {
            assert!(!key.allows(place), "{place:?}");
        }
        let stored = HeaderName::from_static("x-amz-meta-token");
        assert!(!key.allows(Place::Header(&stored)));
        for name in RuleSecret::CREDENTIAL_HEADERS {
            assert!(!is_forbidden(&name.parse().unwrap()), "{name}");
        }
    }

    #[test]
    fn listed_places_are_all_there_are() {
        let key = secret(r#"{"name":"key","in":["url","header:X-Token"]}"#).unwrap();
        let token = HeaderName::from_static("x-token");
        assert!(key.allows(Place::Url) && key.allows(Place::Header(&token)));
        assert!(!key.allows(Place::Body) && !key.allows(Place::Header(&AUTHORIZATION)));
    }

    #[test]
    fn faults_name_the_place() {
        for (json, hint) in [
            (r#"{"name":"key","in":[]}"#, "nowhere"),
            (r#"{"name":"key","in":["query"]}"#, "\\\"query\\\""),
            (r#"{"name":"key","in":["header:host"]}"#, "host's to set"),
            (r#"{"name":"key","in":["header:a b"]}"#, "header:NAME"),
        ] {
            let error = secret(json).unwrap_err();
            assert!(
                error.contains(hint.trim_matches('\\')) || error.contains(&hint.replace('\\', "")),
                "{json}: {error}"
            );
        }
    }
}
