//! The handlers of a content backend: they work on the keys that its web server has in Redis.
//!
//! | job name | does |
//! |---|---|
//! | `build-feed` | fills `feed:…` from the database, once for all who wait for it |
//! | `publish-post` | forgets the feeds that a new post is missing in, and caches its page |
//! | `add-comment` | saves a comment as the user of a session, and shows how many there are |
//! | `flush-counters` | writes what `post:<id>:likes` and `post:<id>:views` have gained to the database |
//!
//! The buckets are over the team's own keys (`feeds`, `sessions`, `posts`, `cached`); `content` is a bucket of Jobcell's
//! own, for what nobody else has to see.

pub mod comment;
pub mod counters;
pub mod database;
pub mod feed;
pub mod publish;
pub mod session;

use jobcell_sdk::prelude::*;

/// Job `build-feed`: the feed is in the cache when this ends.
#[handler]
fn build_feed(job: Job<feed::Wanted>) -> Result<feed::Built, Failure> {
    feed::build(&job.data)
}

/// Job `publish-post`: nobody is shown a feed without it any more.
#[handler]
fn publish_post(job: Job<publish::Published>) -> Result<publish::Forgotten, Failure> {
    publish::forget(&job.data)
}

/// Job `add-comment`: saved once, whichever attempt it takes.
#[handler]
fn add_comment(job: Job<comment::Comment>) -> Result<comment::Saved, Failure> {
    comment::add(&job)
}

/// Job `flush-counters`: what was gained is in the database once, whoever dies on the way.
#[handler]
fn flush_counters(_job: Job<serde_json::Value>) -> Result<counters::Flushed, Failure> {
    counters::flush()
}

plugin!(build_feed, publish_post, add_comment, flush_counters);
