//! What is kept outside of the cell: cache and blobs.

use std::time::Duration;

use jobcell_sdk::prelude::*;
use jobcell_sdk::{blobs, cache};
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
pub(crate) struct Counter {
    key: String,
    by: i64,
    ttl_ms: Option<u64>,
}

#[derive(Serialize)]
pub(crate) struct Counted {
    /// After adding.
    count: i64,
    /// As `get` reads it.
    text: Option<String>,
}

/// Adds to a counter and reads it back.
#[handler]
pub(crate) fn cache(job: Job<Counter>) -> Result<Counted, Failure> {
    let Counter { key, by, ttl_ms } = job.data;
    let count = cache::increment(&key, by, ttl_ms.map(Duration::from_millis))?;
    let text = cache::get(&key)?.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    Ok(Counted { count, text })
}

/// Answers whether an id was seen before, and remembers it.
#[handler]
pub(crate) fn seen(job: Job<String>) -> Result<bool, Failure> {
    Ok(!cache::set_if_absent(&job.data, b"1", Some(Duration::from_secs(60)))?)
}

#[derive(Deserialize)]
pub(crate) struct Hold {
    key: String,
    /// Nothing deletes it.
    value: Option<String>,
}

/// Sets or deletes a value, and answers what was there before.
#[handler]
pub(crate) fn hold(job: Job<Hold>) -> Result<Option<String>, Failure> {
    let Hold { key, value } = job.data;
    let before = cache::get(&key)?;
    match value {
        Some(value) => cache::set(&key, value, None)?,
        None => cache::delete(&key)?,
    }
    Ok(before.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

#[derive(Deserialize)]
pub(crate) struct Blob {
    store: String,
    key: String,
    text: String,
    #[serde(default)]
    delete: bool,
}

#[derive(Serialize)]
pub(crate) struct Info {
    key: String,
    size: u64,
    content_type: Option<String>,
    etag: Option<String>,
}

impl From<blobs::Info> for Info {
    fn from(info: blobs::Info) -> Self {
        let blobs::Info { key, size, content_type, etag } = info;
        Self { key, size, content_type, etag }
    }
}

#[derive(Serialize)]
pub(crate) struct Stored {
    put: Info,
    head: Info,
    text: String,
    /// From the second byte, at most three.
    part: String,
}

/// Puts a text, looks at it, reads it whole and in part, and deletes it if told to.
#[handler]
pub(crate) fn blob(job: Job<Blob>) -> Result<Stored, Failure> {
    let Blob { store, key, text, delete } = job.data;
    let put = blobs::put(&store, &key, &text, Some("text/plain"))?.into();
    let head = blobs::head(&store, &key)?.into();
    let whole = blobs::get(&store, &key)?;
    let part = blobs::get_range(&store, &key, 1, 3)?;
    if delete {
        blobs::delete(&store, &key)?;
    }
    Ok(Stored {
        put,
        head,
        text: String::from_utf8_lossy(&whole).into_owned(),
        part: String::from_utf8_lossy(&part).into_owned(),
    })
}

#[derive(Deserialize)]
pub(crate) struct Listing {
    store: String,
    prefix: String,
    start_after: Option<String>,
    limit: u32,
}

/// Lists one page of a store.
#[handler]
pub(crate) fn blob_list(job: Job<Listing>) -> Result<Vec<Info>, Failure> {
    let Listing { store, prefix, start_after, limit } = job.data;
    let page = blobs::list(&store, &prefix, start_after.as_deref(), limit)?;
    Ok(page.into_iter().map(Info::from).collect())
}
