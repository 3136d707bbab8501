//! Job schedulers: setting, removing and reading them, in the records that BullMQ's clients share.

use std::collections::HashMap;

use bytes::Bytes;
use jobcell_core::schedule::{Draft, Rule, Template, Timetable};
use jobcell_core::store::{Page, Scheduled, Scheduler, SchedulerSpec};
use jobcell_core::{JobId, JobOptions, Millis, QueueName, StoreError};
use redis::Value;
use serde_json::Value as Json;

use super::BullStore;
use super::add::DUE_MAX;
use super::read::PAGE_MAX;
use crate::keys::QueueKeys;
use crate::reply;
use crate::script;

/// What a record leaves out because it says nothing.
const NO_DATA: &[u8] = b"{}";

impl BullStore {
    pub(super) async fn write_scheduler(
        &self,
        queue: &QueueName,
        spec: &SchedulerSpec,
        now: Millis,
    ) -> Result<Scheduled, StoreError> {
        spec.check()?;
        let SchedulerSpec { id, timetable, name, data, options } = spec;
        let rejected = |e| spec.rejected(&e);
        let first = timetable.first(None, now).map_err(rejected)?;
        if first > DUE_MAX {
            return Err(StoreError::Rejected(format!(
                "scheduler {id:?}: its first job is due after 2039, which this layout cannot hold; let it begin sooner"
            )));
        }
        let template = Template::new(options).map_err(rejected)?;
        let mut draft = Draft::first(&template, id, timetable, now).map_err(rejected)?;
        let every = timetable.every();
        if every.is_none() {
            draft.note_slot(first).map_err(rejected)?;
        }
        let number = |n: Option<u64>| n.map(|n| n.to_string()).unwrap_or_default();
        let mut prefix = Json::from(format!("repeat:{id}:")).to_string();
        prefix.pop();
        let data = data.as_deref().unwrap_or(NO_DATA);
        let keys = self.keys(queue);
        let mut call = script::SCHEDULE.call(&keys.meta());
        call.arg(now)
            .arg(id)
            .arg(number(every.map(|every| every.every)))
            .arg(number(every.and_then(|every| every.offset)))
            .arg(number(timetable.start))
            .arg(first)
            .arg(prefix)
            .arg(name)
            .arg(data)
            .arg(draft.open())
            .arg(options.priority)
            .arg(u8::from(options.lifo));
        for (field, value) in fields(spec, &template) {
            call.arg(field).arg(value);
        }
        let [code, job, due] = reply::tuple(self.run(&call, &keys, &[]).await?)?;
        let job = reply::text(job)?.unwrap_or_default();
        if reply::int(&code)? != 0 {
            return Err(StoreError::Rejected(format!(
                "scheduler {id:?}: job {job:?} is in the way; remove it, or give the scheduler another id"
            )));
        }
        let job = JobId::new(&job).map_err(|e| StoreError::Corrupt(e.to_string()))?;
        Ok(Scheduled { job, due: reply::count(&due)? })
    }

    pub(super) async fn drop_scheduler(&self, queue: &QueueName, id: &str) -> Result<bool, StoreError> {
        let keys = self.keys(queue);
        let mut call = script::UNSCHEDULE.call(&keys.meta());
        call.arg(id);
        Ok(reply::int(&self.run(&call, &keys, &[]).await?)? == 1)
    }

    pub(super) async fn read_scheduler(
        &self,
        queue: &QueueName,
        id: &str,
    ) -> Result<Option<Scheduler>, StoreError> {
        let keys = self.keys(queue);
        let mut score = redis::cmd("ZSCORE");
        score.arg(keys.of("repeat")).arg(id);
        let slot = reply::text(self.ask(&score, queue, &[]).await?)?;
        let Some(slot) = slot.and_then(|slot| millis(&slot)) else { return Ok(None) };
        self.read_record(queue, &keys, id, slot).await
    }

    pub(super) async fn read_schedulers(
        &self,
        queue: &QueueName,
        page: Page,
    ) -> Result<Vec<Scheduler>, StoreError> {
        let Page { offset, limit } = page;
        if limit == 0 {
            return Ok(Vec::new());
        }
        let keys = self.keys(queue);
        let first = i64::try_from(offset).unwrap_or(i64::MAX / 2).min(i64::MAX / 2);
        let last = first + i64::try_from(limit.min(PAGE_MAX)).unwrap_or(0) - 1;
        let mut range = redis::cmd("ZRANGE");
        range.arg(keys.of("repeat")).arg(first).arg(last).arg("WITHSCORES");
        let found = reply::pairs(self.ask(&range, queue, &[]).await?)?;
        // All at once over the one connection, so that one of them that cannot be read is known by its name.
        let records = found.iter().filter_map(|(id, slot)| Some((id, millis(slot)?))).map(|(id, slot)| {
            let keys = &keys;
            async move { (id, self.read_record(queue, keys, id, slot).await) }
        });
        let mut schedulers = Vec::with_capacity(found.len());
        for (id, read) in futures::future::join_all(records).await {
            match read {
                Ok(scheduler) => schedulers.extend(scheduler),
                Err(error @ StoreError::Corrupt(_)) => {
                    tracing::error!(%queue, scheduler = id, %error, "a scheduler cannot be read");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(schedulers)
    }

    async fn read_record(
        &self,
        queue: &QueueName,
        keys: &QueueKeys,
        id: &str,
        slot: Millis,
    ) -> Result<Option<Scheduler>, StoreError> {
        let key = keys.of(&format!("repeat:{id}"));
        let corrupt =
            |cause: String| StoreError::Corrupt(format!("key {key:?}: {cause}; set the scheduler again"));
        let record = match self.redis.call(redis::cmd("HGETALL").arg(&key)).await {
            Ok(record) => reply::pairs(record)?,
            Err(e) if crate::error::has_code(&e, "WRONGTYPE") => {
                return Err(corrupt("it holds no hash".to_owned()));
            }
            Err(e) => return Err(self.redis.error(&e)),
        };
        if record.is_empty() {
            return Ok(None);
        }
        let record: HashMap<String, String> = record.into_iter().collect();
        let mut pending = redis::cmd("HMGET");
        pending.arg(keys.of(&format!("repeat:{id}:{slot}"))).arg("name").arg("ats");
        let [name, starts] = reply::tuple(self.ask(&pending, queue, &[]).await?)?;
        // One that was started has its successor, unless there is to be none. The pending job of an old repeatable job
        // has an id that its record does not tell.
        let waits = !record.contains_key("ic") || (name != Value::Nil && starts == Value::Nil);
        let spec = parse(id, &record).map_err(corrupt)?;
        let iterations = number(&record, "ic").map_err(corrupt)?.unwrap_or(0);
        Ok(Some(Scheduler { spec, next: Some(slot).filter(|_| waits), iterations }))
    }
}

/// The fields of a record that do not depend on what was there before.
fn fields(spec: &SchedulerSpec, template: &Template) -> Vec<(&'static str, Vec<u8>)> {
    let SchedulerSpec { id: _, timetable, name, data, options: _ } = spec;
    let Timetable { rule, start, end, limit } = timetable;
    let mut fields = vec![("name", name.clone().into_bytes())];
    let mut number = |name, n: Option<u64>| fields.extend(n.map(|n| (name, n.to_string().into_bytes())));
    number("startDate", *start);
    number("endDate", *end);
    number("limit", *limit);
    match rule {
        Rule::Every { every, offset: _ } => number("every", Some(*every)),
        Rule::Cron { pattern, tz, immediately: _ } => {
            fields.push(("pattern", pattern.clone().into_bytes()));
            fields.extend(tz.clone().filter(|tz| !tz.is_empty()).map(|tz| ("tz", tz.into_bytes())));
        }
    }
    fields.extend(template.as_str().map(|opts| ("opts", opts.as_bytes().to_vec())));
    fields.extend(
        data.as_deref().filter(|data| data.trim_ascii() != NO_DATA).map(|data| ("data", data.to_vec())),
    );
    fields
}

/// # Errors
/// Which field cannot be read, and why.
fn parse(id: &str, record: &HashMap<String, String>) -> Result<SchedulerSpec, String> {
    let text = |name: &str| record.get(name).filter(|text| !text.is_empty()).cloned();
    let rule = match (text("pattern"), number(record, "every")?) {
        (Some(pattern), _) => Rule::Cron { pattern, tz: text("tz"), immediately: false },
        (None, Some(every)) => Rule::Every { every, offset: number(record, "offset")? },
        (None, None) => return Err("it has neither a pattern nor a distance".to_owned()),
    };
    let options = match text("opts") {
        Some(opts) => serde_json::from_str(&opts).map_err(|e| format!("field \"opts\": {e}"))?,
        None => JobOptions::default(),
    };
    Ok(SchedulerSpec {
        id: id.to_owned(),
        timetable: Timetable {
            rule,
            start: number(record, "startDate")?,
            end: number(record, "endDate")?,
            limit: number(record, "limit")?,
        },
        name: record.get("name").cloned().unwrap_or_default(),
        data: text("data").map(Bytes::from),
        options,
    })
}

fn number(record: &HashMap<String, String>, name: &str) -> Result<Option<u64>, String> {
    match record.get(name).map(String::as_str) {
        None | Some("" | "undefined" | "null") => Ok(None),
        Some(text) => millis(text).map(Some).ok_or_else(|| format!("field {name:?}: {text:?} is no number")),
    }
}

/// Loosely typed clients store fractions; Redis prints scores that are large with an exponent.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "float to integer casts saturate, which is what is wanted"
)]
fn millis(text: &str) -> Option<Millis> {
    text.parse().ok().or_else(|| text.parse::<f64>().ok().filter(|n| n.is_finite()).map(|n| n as Millis))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(fields: &[(&str, &str)]) -> HashMap<String, String> {
        fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_record_as_bullmq_writes_it_is_read_and_written_the_same() {
        let told = [
            ("name", "n"),
            ("limit", "5"),
            ("endDate", "1795193936164"),
            ("every", "60000"),
            ("opts", r#"{"attempts":3,"priority":2,"removeOnComplete":5}"#),
            ("data", r#"{"a":[],"b":"x/y"}"#),
        ];
        let stored = [&told[..], &[("offset", "500"), ("ic", "1")]].concat();
        let spec = parse("s", &record(&stored)).unwrap();
        assert_eq!(spec.timetable.rule, Rule::Every { every: 60000, offset: Some(500) });
        assert_eq!((spec.timetable.limit, spec.options.attempts), (Some(5), 3));
        let written = fields(&spec, &Template::new(&spec.options).unwrap());
        let written =
            written.into_iter().map(|(name, value)| (name.to_owned(), String::from_utf8(value).unwrap()));
        let again = parse("s", &written.chain([("offset".to_owned(), "500".to_owned())]).collect()).unwrap();
        assert_eq!(again, spec);
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        for (fields, said) in [
            (&[("name", "n")][..], "neither a pattern nor a distance"),
            (&[("every", "often")], "field \"every\": \"often\""),
            (&[("every", "5"), ("opts", "{")], "field \"opts\""),
        ] {
            let told = parse("s", &record(fields)).unwrap_err();
            assert!(told.contains(said), "{told}");
        }
        assert_eq!(millis("1.7e12"), Some(1_700_000_000_000));
    }
}
