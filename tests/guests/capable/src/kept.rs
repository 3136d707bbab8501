//! What is kept in buckets of the key-value store.

use jobcell_sdk::HostError;
use jobcell_sdk::kv::{self, Bucket, Swap};
use jobcell_sdk::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
pub(crate) struct Steps {
    bucket: String,
    steps: Vec<Step>,
}

/// One call of the host.
#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
enum Step {
    Get {
        key: String,
    },
    Exists {
        key: String,
    },
    Set {
        key: String,
        value: String,
    },
    Delete {
        key: String,
    },
    /// One page.
    Keys {
        cursor: Option<String>,
    },
    /// Every page.
    AllKeys,
    Increment {
        key: String,
        by: i64,
    },
    /// Looks at a value, lets another one in between when there is one, and swaps; twice when the first is lost.
    Swap {
        key: String,
        between: Option<String>,
        value: String,
    },
    /// Appends to a text.
    Append {
        key: String,
        text: String,
    },
    /// Sets as many values as this, of so many bytes each.
    Fill {
        count: u32,
        bytes: usize,
    },
}

/// Opens a bucket, does one thing after the other, and answers what each answered: the value, or the error's text.
#[handler]
pub(crate) fn kv(job: Job<Steps>) -> Result<Vec<Value>, Failure> {
    let bucket = kv::open(&job.data.bucket)?;
    let answers = job.data.steps.into_iter().map(|step| match take(&bucket, step) {
        Ok(answer) => answer,
        Err(error) => json!({ "error": error.to_string() }),
    });
    Ok(answers.collect())
}

fn take(bucket: &Bucket, step: Step) -> Result<Value, HostError> {
    Ok(match step {
        Step::Get { key } => json!(bucket.get(&key)?.map(text)),
        Step::Exists { key } => json!(bucket.exists(&key)?),
        Step::Set { key, value } => json!(bucket.set(&key, value)?),
        Step::Delete { key } => json!(bucket.delete(&key)?),
        Step::Keys { cursor } => {
            let page = bucket.keys(cursor.as_deref())?;
            json!({ "keys": page.keys, "cursor": page.cursor })
        }
        Step::AllKeys => {
            let (mut all, mut cursor) = (Vec::new(), None);
            loop {
                let page = bucket.keys(cursor.as_deref())?;
                all.extend(page.keys);
                cursor = page.cursor;
                if cursor.is_none() {
                    break json!(all);
                }
            }
        }
        Step::Increment { key, by } => json!(bucket.increment(&key, by)?),
        Step::Swap { key, between, value } => {
            let seen = bucket.watch(&key)?;
            if let Some(between) = between {
                bucket.set(&key, between)?;
            }
            match seen.swap(&value)? {
                Swap::Done => json!("done"),
                Swap::Lost(now) => {
                    let held = now.current()?.map(text);
                    let again = matches!(now.swap(&value)?, Swap::Done);
                    json!({ "lost to": held, "again": again })
                }
            }
        }
        Step::Append { key, text: more } => {
            let whole =
                bucket.update(&key, |held| [held.unwrap_or_default(), more.clone().into_bytes()].concat())?;
            json!(text(whole))
        }
        Step::Fill { count, bytes } => {
            let value = vec![b'x'; bytes];
            for i in 0..count {
                bucket.set(&format!("fill {i}"), &value)?;
            }
            json!(count)
        }
    })
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8_lossy(&bytes).into_owned()
}
