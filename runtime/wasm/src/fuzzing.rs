//! What fuzzing looks at that nobody else may: the decisions about a request before it is sent.

use std::net::IpAddr;

use http::Uri;
use url::Url;

use crate::grants::HttpRule;
use crate::http::address::{self, Reach};

/// The URL that a guest's request goes to, in the form that rules are matched with. None when it is refused as such.
#[must_use]
pub fn request_url(uri: &Uri) -> Option<Url> {
    crate::http::hooks::url_of(uri).ok()
}

/// Whether a rule covers requests to this URL.
#[must_use]
pub fn covers(rule: &HttpRule, url: &Url) -> bool {
    rule.covers(url)
}

/// How an address stands to the public internet: `public`, `private` or `never`.
#[must_use]
pub fn reach(ip: IpAddr) -> &'static str {
    match address::reach(ip) {
        Reach::Public => "public",
        Reach::Private(_) => "private",
        Reach::Guarded(_) => "guarded",
        Reach::Never(_) => "never",
    }
}
