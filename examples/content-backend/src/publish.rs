//! A new post: what it is missing in is forgotten, and its page is there before anybody asks for it.

use jobcell_sdk::kv;
use jobcell_sdk::prelude::*;
use serde::{Deserialize, Serialize};

use crate::feed::GENERATION;

/// A post that is in the database.
#[derive(Debug, Serialize, Deserialize)]
pub struct Published {
    /// Its id.
    pub post: String,
    /// Who is shown it in their own feed.
    #[serde(default)]
    pub followers: Vec<String>,
    /// Its page, as the web server caches it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<serde_json::Value>,
}

/// What the job answers.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Forgotten {
    /// Feeds that will be built anew.
    pub feeds: usize,
}

/// Forgets the feeds that everybody sees and those of the followers, and puts the post's page into the cache, for as
/// long as the bucket says. Without a page, an old one is forgotten.
///
/// # Errors
/// When the store does not answer.
pub fn forget(published: &Published) -> Result<Forgotten, Failure> {
    let (feeds, cached) = (kv::open("feeds")?, kv::open("cached")?);
    // Before anything is forgotten: whoever builds a feed now sees that this one came in between.
    kv::open("content")?.increment(GENERATION, 1)?;
    let is_theirs = |key: &str| match key.strip_prefix("user:").and_then(|rest| rest.split(':').next()) {
        Some(user) => published.followers.iter().any(|follower| follower == user),
        None => key.starts_with("global:"),
    };
    let (mut forgotten, mut cursor) = (0, None);
    loop {
        let page = feeds.keys(cursor.as_deref())?;
        for key in page.keys.iter().filter(|key| is_theirs(key)) {
            feeds.delete(key)?;
            forgotten += 1;
        }
        cursor = page.cursor;
        if cursor.is_none() {
            break;
        }
    }
    let page = format!("post:{}", published.post);
    match &published.page {
        Some(shown) => cached.set(&page, shown.to_string())?,
        None => cached.delete(&page)?,
    }
    Ok(Forgotten { feeds: forgotten })
}

#[cfg(test)]
mod tests {
    use jobcell_sdk::testing::Host;

    use super::*;

    #[test]
    fn what_a_post_is_missing_in_is_forgotten_and_nothing_else() {
        let keys = ["global:a", "global:b", "user:7:a", "user:7:b", "user:70:a", "user:8:a"];
        let host = keys
            .iter()
            .fold(Host::new().bucket("content"), |host, key| host.kept_value("feeds", key, "[]"))
            .kept_value("cached", "post:42", "old")
            .kept_value("cached", "post:43", "old");
        let published = Published { post: "42".to_owned(), followers: vec!["7".to_owned()], page: None };
        assert_eq!(host.within(|| forget(&published)), Ok(Forgotten { feeds: 4 }));
        let left: Vec<_> = keys.into_iter().filter(|key| host.kept("feeds", key).is_some()).collect();
        assert_eq!(left, ["user:70:a", "user:8:a"]);
        assert!(host.kept("cached", "post:42").is_none() && host.kept("cached", "post:43").is_some());
        assert_eq!(host.kept("content", GENERATION).as_deref(), Some(&b"1"[..]));

        let page = Some(serde_json::json!({"title": "new"}));
        let published = Published { post: "43".to_owned(), followers: Vec::new(), page };
        assert_eq!(host.within(|| forget(&published)), Ok(Forgotten { feeds: 0 }));
        assert_eq!(host.kept("cached", "post:43").as_deref(), Some(&br#"{"title":"new"}"#[..]));
    }
}
