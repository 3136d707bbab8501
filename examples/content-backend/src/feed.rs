//! Feeds, under the keys and in the form in which the web server reads them.

use std::time::Duration;

use jobcell_sdk::cache::Once;
use jobcell_sdk::kv::{self, Bucket};
use jobcell_sdk::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::database;

/// How long one may build a feed before another cell takes over. The database takes a fraction of it.
const LEASE: Duration = Duration::from_secs(5);

/// Which feed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Wanted {
    /// Whose; nobody's is the one that everybody sees who is not logged in.
    pub user: Option<String>,
    /// Of what was asked for, as the web server makes it.
    pub hash: String,
    /// What was asked for, for the database.
    #[serde(default)]
    pub query: String,
}

/// What the job answers.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Built {
    /// Where it is, behind `feed:`.
    pub key: String,
}

/// Makes sure that the feed is in the cache.
///
/// # Errors
/// When it is asked for with names that cannot be parts of a key, or the database does not answer.
pub fn build(wanted: &Wanted) -> Result<Built, Failure> {
    let key = key(wanted)?;
    let (feeds, own) = (kv::open("feeds")?, kv::open("content")?);
    let before = generation(&own)?;
    let _feed: Value = Once::new(&key).bucket(&feeds).lease(LEASE).json(|| {
        let whose = wanted.user.as_deref().map(|user| format!("&user={user}")).unwrap_or_default();
        database::get(&format!("/feed?{}{whose}", wanted.query))
    })?;
    // A post was published while the feed was made: this one may be without it.
    if generation(&own)? != before {
        feeds.delete(&key)?;
        return Err(Failure::retry_after("a post was published meanwhile", Duration::from_millis(50)));
    }
    Ok(Built { key })
}

/// The key behind `feed:`.
fn key(wanted: &Wanted) -> Result<String, Failure> {
    for part in wanted.user.iter().chain([&wanted.hash]) {
        if part.is_empty() || !part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            return Err(Failure::invalid(format!("{part:?} cannot be a part of a feed's key")));
        }
    }
    Ok(match &wanted.user {
        Some(user) => format!("user:{user}:{}", wanted.hash),
        None => format!("global:{}", wanted.hash),
    })
}

/// Counts the posts that were published, so that a feed that was made of what was there before is known as such.
pub(crate) const GENERATION: &str = "generation";

fn generation(own: &Bucket) -> Result<Option<Vec<u8>>, Failure> {
    Ok(own.get(GENERATION)?)
}

#[cfg(test)]
mod tests {
    use jobcell_sdk::http::Response;
    use jobcell_sdk::testing::Host;
    use serde_json::json;

    use super::*;

    const DATABASE: &str = "http://db.test/feed?page=1&user=7";

    fn host() -> Host {
        Host::new().cache().bucket("feeds").bucket("content").config("database", "http://db.test/")
    }

    fn wanted(user: Option<&str>, hash: &str) -> Wanted {
        Wanted { user: user.map(str::to_owned), hash: hash.to_owned(), query: "page=1".to_owned() }
    }

    #[test]
    fn a_feed_is_built_once_and_lies_where_the_web_server_looks() {
        let host = host().respond(DATABASE, Response::new(200).with_json(&json!({"posts": [2, 1]})));
        for _ in 0..3 {
            let built = host.within(|| build(&wanted(Some("7"), "abc"))).unwrap();
            assert_eq!(built.key, "user:7:abc");
        }
        assert_eq!(host.kept("feeds", "user:7:abc").as_deref(), Some(&br#"{"posts":[2,1]}"#[..]));
        assert_eq!(host.requests().len(), 1);
    }

    #[test]
    fn the_database_is_asked_again_after_it_was_away() {
        let host = host()
            .respond(DATABASE, Response::new(503))
            .respond(DATABASE, Response::new(200).with_json(&json!({})));
        let away = host.within(|| build(&wanted(Some("7"), "abc")));
        assert!(matches!(&away, Err(Failure::Retry(why)) if why.contains("503")), "{away:?}");
        assert!(host.within(|| build(&wanted(Some("7"), "abc"))).is_ok());
    }

    #[test]
    fn a_feed_that_a_new_post_overtook_is_not_left_in_the_cache() {
        let host = host().on_request(|_| {
            // The post is published while the database thinks.
            kv::open("content").unwrap().increment(GENERATION, 1).unwrap();
            Ok(Response::new(200).with_json(&json!({"posts": []})))
        });
        let overtaken = host.within(|| build(&wanted(None, "abc")));
        assert!(matches!(overtaken, Err(Failure::RetryAfter { .. })), "{overtaken:?}");
        assert_eq!(host.kept("feeds", "global:abc"), None);
    }

    #[test]
    fn names_that_would_lead_to_other_keys_are_refused() {
        for (user, hash) in [(Some("7:x"), "abc"), (Some(""), "abc"), (None, "*"), (None, "a\n"), (None, "")]
        {
            let refused = host().within(|| build(&wanted(user, hash)));
            assert!(matches!(refused, Err(Failure::Invalid(_))), "{user:?} {hash:?}");
        }
    }
}
