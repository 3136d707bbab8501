//! Comments: saved as the user of the session that they came with.

use jobcell_sdk::kv;
use jobcell_sdk::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{database, session};

/// A comment on its way.
#[derive(Debug, Serialize, Deserialize)]
pub struct Comment {
    /// The session of who wrote it.
    pub session: String,
    /// The post that it is about.
    pub post: String,
    /// What they wrote.
    pub text: String,
}

/// What the job answers.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Saved {
    /// Who wrote it.
    pub user: String,
    /// How many the post has now.
    pub comments: u64,
}

#[derive(Deserialize)]
struct Total {
    comments: u64,
}

/// Saves it and raises the number that is shown with the post to what the database says: whichever attempt comes
/// through, in which order and however often, it is right.
///
/// # Errors
/// Fatal without a session that is good; otherwise as the database answers.
pub fn add(job: &Job<Comment>) -> Result<Saved, Failure> {
    let Comment { session, post, text } = &job.data;
    let user = session::user(session)?;
    let body = json!({ "post": post, "user": user, "text": text });
    let Total { comments } = database::post("/comments", &job.idempotency_key, &body)?;
    // Answers come in any order, and one that comes again is an old one; the number only grows.
    kv::open("posts")?.update(&format!("{post}:comments"), |held| {
        let held = held.and_then(|held| String::from_utf8(held).ok()?.parse().ok()).unwrap_or(0);
        comments.max(held).to_string().into_bytes()
    })?;
    Ok(Saved { user, comments })
}

#[cfg(test)]
mod tests {
    use jobcell_sdk::http::Response;
    use jobcell_sdk::testing::{self, Host};

    use super::*;

    #[test]
    fn a_comment_is_saved_as_the_sessions_user_with_the_jobs_key() {
        let host = Host::new()
            .kept_value("sessions", "abc", r#"{"cookie":{},"userId":"7"}"#)
            .bucket("posts")
            .config("database", "http://db.test")
            .respond("http://db.test/comments", Response::new(201).with_json(&json!({"comments": 3})));
        let comment = Comment { session: "abc".into(), post: "42".into(), text: "Hi".into() };
        let saved = host.run(|job| add(&job), testing::job(comment).id("c1")).unwrap();
        assert_eq!(saved, Saved { user: "7".to_owned(), comments: 3 });
        let asked = &host.requests()[0];
        assert_eq!(asked.header_value("idempotency-key"), Some("test:test:c1"));
        assert_eq!(asked.body_json::<serde_json::Value>().unwrap()["user"], "7");
        assert_eq!(host.kept("posts", "42:comments").as_deref(), Some(&b"3"[..]));
    }

    #[test]
    fn an_answer_that_comes_late_takes_nothing_back() {
        let host = Host::new()
            .kept_value("sessions", "abc", r#"{"cookie":{},"userId":"7"}"#)
            .kept_value("posts", "42:comments", "9")
            .config("database", "http://db.test")
            .respond("http://db.test/comments", Response::new(201).with_json(&json!({"comments": 3})));
        let comment = Comment { session: "abc".into(), post: "42".into(), text: "Hi".into() };
        host.run(|job| add(&job), testing::job(comment)).unwrap();
        assert_eq!(host.kept("posts", "42:comments").as_deref(), Some(&b"9"[..]));
    }
}
