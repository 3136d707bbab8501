//! A result as it is kept: a line about where it comes from, and its bytes.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::clock::Millis;

/// Bytes of a job's name for people.
const ORIGIN_BYTES_MAX: usize = 256;

/// A result that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kept {
    /// The queue of the job that computed it.
    pub(super) queue: String,
    /// Its id.
    pub(super) job: String,
    /// When.
    pub(super) at: Millis,
    /// As the handler gave it.
    pub(super) result: Bytes,
}

#[derive(Serialize, Deserialize)]
struct Head {
    queue: String,
    job: String,
    at: Millis,
}

// === impl Kept ===

impl Kept {
    /// The job that computed it, for people: as much of it as a receipt has room for.
    pub(super) fn origin(&self) -> String {
        let mut origin = format!("{}/{}", self.queue, self.job);
        origin.truncate(origin.floor_char_boundary(ORIGIN_BYTES_MAX));
        origin
    }

    pub(super) fn written(&self) -> Bytes {
        let head = Head { queue: self.queue.clone(), job: self.job.clone(), at: self.at };
        // Texts and numbers can always be written, without a line break.
        let mut text = serde_json::to_vec(&head).unwrap_or_default();
        text.push(b'\n');
        text.extend_from_slice(&self.result);
        text.into()
    }

    /// None when it is no such thing: then it is computed and written anew.
    pub(super) fn read(value: &Bytes) -> Option<Self> {
        let end = value.iter().position(|byte| *byte == b'\n')?;
        let Head { queue, job, at } = serde_json::from_slice(&value[..end]).ok()?;
        Some(Self { queue, job, at, result: value.slice(end + 1..) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_back_whatever_is_in_it() {
        for result in ["", "{\"a\":\n1}", "\n"] {
            let kept = Kept {
                queue: "q".to_owned(),
                job: "a\nb\"é".to_owned(),
                at: 7,
                result: Bytes::from_static(result.as_bytes()),
            };
            assert_eq!(Kept::read(&kept.written()), Some(kept));
        }
        for foreign in ["", "{}\n1", "{\"queue\":1}\n", "{\"queue\":\"q\",\"job\":\"1\",\"at\":1}"] {
            assert_eq!(Kept::read(&Bytes::from_static(foreign.as_bytes())), None, "{foreign}");
        }
    }
}
