//! A job's hash as a [`Job`].

use bytes::Bytes;
use jobcell_core::store::Malformed;
use jobcell_core::{Job, JobId, JobOptions, Millis};
use redis::Value;

use crate::reply::into_text;

/// The job for people who look at it: what cannot be read is left at its default, the raw options say the rest.
pub(crate) fn look(id: JobId, hash: Vec<Value>) -> Option<Job> {
    parse(id, hash).0
}

/// Takes the flat reply of `HGETALL`. None when there is no job: a hash without a name is what is left when somebody
/// touched a job that was gone. A field that cannot be read is told beside the rest.
pub(crate) fn parse(id: JobId, hash: Vec<Value>) -> (Option<Job>, Option<Malformed>) {
    let mut job = Job::new(id, "", Bytes::from_static(b"{}"));
    let (mut named, mut fault) = (false, None);
    // What very old producers wrote instead of `atm`.
    let mut attempts_made_before = 0;
    let mut hash = hash.into_iter();
    while let (Some(Value::BulkString(field)), Some(Value::BulkString(value))) = (hash.next(), hash.next()) {
        let mut number = |value: Vec<u8>| match whole(&value) {
            Some(n) => n,
            None => {
                fault.get_or_insert_with(|| Malformed {
                    field: String::from_utf8_lossy(&field).into_owned(),
                    cause: format!("{:?} is not a number", cut(&value)),
                });
                0
            }
        };
        match &field[..] {
            b"name" => {
                named = true;
                job.name = into_text(value);
            }
            b"data" => job.data = value.into(),
            b"opts" => {
                job.options_raw = value.into();
                match options(&job.options_raw) {
                    Ok(options) => job.options = options,
                    Err(cause) => fault = Some(Malformed { field: "opts".to_owned(), cause }),
                }
            }
            b"timestamp" => job.timestamp = number(value),
            b"delay" => job.delay = number(value),
            b"priority" => job.priority = number(value),
            b"atm" => job.attempts_made = number(value),
            b"attemptsMade" => attempts_made_before = number(value),
            b"ats" => job.attempts_started = number(value),
            b"stc" => job.stalled_count = number(value),
            b"processedOn" => job.processed_on = Some(number(value)),
            b"finishedOn" => job.finished_on = Some(number(value)),
            b"progress" => job.progress = Some(value.into()),
            b"returnvalue" => job.result = Some(value.into()),
            b"failedReason" => job.failed_reason = Some(into_text(value)),
            b"stacktrace" => job.stacktrace = traces(value),
            // What nobody can read is no count.
            b"crashes" => job.crashes = into_text(value).parse().ok(),
            b"digest" => job.pinned = Some(into_text(value)),
            b"defa" => job.deferred_failure = Some(into_text(value)),
            b"pb" => job.processed_by = Some(into_text(value)),
            b"parentKey" => job.parent_key = Some(into_text(value)),
            b"rjk" => job.scheduler = Some(into_text(value)),
            b"deid" => job.deduplication_id = Some(into_text(value)),
            _ => {}
        }
    }
    if job.attempts_made == 0 {
        job.attempts_made = attempts_made_before;
    }
    (named.then_some(job), fault)
}

/// Loosely typed producers store fractions and negative numbers; times and counts are whole.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "float to integer casts saturate, which is what is wanted"
)]
fn whole(value: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(value).ok()?;
    text.parse::<Millis>()
        .ok()
        .or_else(|| text.parse::<f64>().ok().filter(|n| n.is_finite()).map(|n| n as u64))
}

fn options(json: &[u8]) -> Result<JobOptions, String> {
    if json.is_empty() {
        return Ok(JobOptions::default());
    }
    serde_json::from_slice(json).map_err(|e| format!("{e} in {:?}", cut(json)))
}

/// What somebody else's worker wrote as one text is one trace.
fn traces(json: Vec<u8>) -> Vec<String> {
    serde_json::from_slice(&json).unwrap_or_else(|_| vec![into_text(json)])
}

/// Enough of a bad value to find it, as text.
fn cut(value: &[u8]) -> String {
    String::from_utf8_lossy(&value[..value.len().min(80)]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(fields: &[(&str, &str)]) -> Vec<Value> {
        fields
            .iter()
            .flat_map(|(k, v)| [k, v])
            .map(|text| Value::BulkString(text.as_bytes().to_vec()))
            .collect()
    }

    fn id() -> JobId {
        JobId::new("1").unwrap()
    }

    #[test]
    fn a_hash_as_node_writes_it_is_read() {
        let (job, fault) = parse(
            id(),
            hash(&[
                ("name", "n"),
                ("data", r#"{"a":1}"#),
                ("opts", r#"{"attempts":3,"backoff":{"type":"fixed","delay":5},"x":[]}"#),
                ("timestamp", "1700000000000"),
                ("delay", "0"),
                ("priority", "2"),
                ("ats", "2"),
                ("attemptsMade", "1"),
                ("stacktrace", r#"["a","b"]"#),
                ("failedReason", "boom"),
                ("unknown", "kept in the store"),
            ]),
        );
        let job = job.unwrap();
        assert_eq!(fault, None);
        assert_eq!((job.name.as_str(), &job.data[..]), ("n", &br#"{"a":1}"#[..]));
        assert_eq!((job.priority, job.attempts_started, job.attempts_made), (2, 2, 1));
        assert_eq!(job.options.attempts, 3);
        assert_eq!(job.stacktrace, ["a", "b"]);
    }

    #[test]
    fn a_hash_without_a_name_is_no_job() {
        assert!(parse(id(), hash(&[("ats", "1")])).0.is_none());
        assert!(parse(id(), Vec::new()).0.is_none());
    }

    #[test]
    fn a_field_that_cannot_be_read_is_named_and_the_rest_can_be_looked_at() {
        let bad = hash(&[("name", "n"), ("opts", "{broken")]);
        let fault = parse(id(), bad.clone()).1.unwrap();
        assert_eq!(fault.field, "opts");
        assert!(fault.cause.contains("{broken"), "{fault}");
        assert_eq!(look(id(), bad).unwrap().options_raw, "{broken");
        assert_eq!(parse(id(), hash(&[("name", "n"), ("priority", "high")])).1.unwrap().field, "priority");
    }
}
