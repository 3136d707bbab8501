//! What a scheduled job's options say of its scheduler, and the options of the job after it.
//!
//! A scheduler's jobs carry its rule with them (`repeat`, `prevMillis`, `repeatJobKey`): who makes the next job copies
//! the options of this one. Members that this host does not know are copied to the letter.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value};

use super::{Rule, ScheduleError, Timetable};
use crate::clock::Millis;
use crate::options::JobOptions;

/// What a job's options say of the scheduler that made it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Repeat {
    /// The distance between jobs in milliseconds.
    pub every: Option<u64>,
    /// The cron pattern.
    pub pattern: Option<String>,
    /// Its time zone.
    pub tz: Option<String>,
    /// So many jobs in all.
    pub limit: Option<u64>,
    /// No job runs before.
    pub start: Option<Millis>,
    /// No job is made after.
    pub end: Option<Millis>,
    /// How far into each distance, where somebody has chosen that.
    pub offset: Option<u64>,
    /// The jobs made so far, this one included.
    pub count: u64,
    /// When this one is due, of a cron pattern.
    pub slot: Option<Millis>,
}

/// The options that each job of a scheduler has, as its record keeps them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Template(Option<String>);

/// The options of a job to be made, before it is known when it is due: its id and delay follow from that.
#[derive(Debug, Clone)]
pub struct Draft(Members);

type Members = BTreeMap<String, Box<RawValue>>;

// === impl Repeat ===

impl Repeat {
    /// Reads a job's options. Every client has its own idea of a number and a date; all that mean one are taken.
    ///
    /// # Errors
    /// [`ScheduleError::Options`] when they are not JSON, or a member of `repeat` means nothing.
    pub fn read(options: &[u8]) -> Result<Self, ScheduleError> {
        let members = members(options)?;
        let value = |name: &str| -> Value {
            members.get(name).and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default()
        };
        let Value::Object(repeat) = value("repeat") else { return Ok(Self::default()) };
        let text = |name: &str| repeat.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        // What its first producers called the pattern.
        let pattern = text("pattern").or_else(|| text("cron"));
        let is_utc = repeat.get("utc").is_some_and(|flag| *flag == Value::Bool(true));
        Ok(Self {
            every: number(&repeat, "every")?.filter(|every| *every > 0),
            pattern: pattern.map(str::to_owned),
            tz: text("tz").filter(|_| !is_utc).map(str::to_owned),
            limit: number(&repeat, "limit")?,
            start: date(&repeat, "startDate")?,
            end: date(&repeat, "endDate")?,
            offset: number(&repeat, "offset")?.filter(|offset| *offset > 0),
            count: number(&repeat, "count")?.unwrap_or(0),
            slot: of_number(&value("prevMillis")),
        })
    }

    /// The rule with its bounds; none when the options name no rule.
    #[must_use]
    pub fn timetable(&self) -> Option<Timetable> {
        let Self { every, pattern, tz, limit, start, end, offset, .. } = self.clone();
        let rule = match (pattern, every) {
            (Some(pattern), _) => Rule::Cron { pattern, tz, immediately: false },
            (None, Some(every)) => Rule::Every { every, offset },
            (None, None) => return None,
        };
        Some(Timetable { rule, start, end, limit })
    }
}

/// A time as people and programs write it: RFC 3339, RFC 2822, `2030-05-05` (UTC), or milliseconds since 1970.
#[must_use]
pub fn parse_time(text: &str) -> Option<Millis> {
    let text = text.trim();
    let moment = DateTime::parse_from_rfc3339(text).or_else(|_| DateTime::parse_from_rfc2822(text)).ok();
    let civil = || {
        let day = NaiveDate::parse_from_str(text, "%Y-%m-%d").map(|day| day.and_time(NaiveTime::MIN));
        day.or_else(|_| NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f"))
            .or_else(|_| NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f"))
            .or_else(|_| NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M"))
            .ok()
    };
    text.parse().ok().or_else(|| {
        let millis =
            moment.map(|m| m.timestamp_millis()).or_else(|| civil().map(|c| c.and_utc().timestamp_millis()));
        Millis::try_from(millis?).ok()
    })
}

fn number(object: &Map<String, Value>, name: &str) -> Result<Option<u64>, ScheduleError> {
    match object.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => of_number(value).map(Some).ok_or_else(|| senseless(name, value, "is no number")),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "saturates, which is what is wanted"
)]
fn of_number(value: &Value) -> Option<u64> {
    match value {
        Value::Number(n) => n.as_u64().or_else(|| n.as_f64().map(|n| n as u64)),
        Value::String(text) => text.trim().parse::<f64>().ok().filter(|n| n.is_finite()).map(|n| n as u64),
        _ => None,
    }
}

fn date(object: &Map<String, Value>, name: &str) -> Result<Option<Millis>, ScheduleError> {
    match object.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.is_empty() => Ok(None),
        Some(value) => {
            let told = value.as_str().map_or_else(|| of_number(value), parse_time);
            told.map(Some)
                .ok_or_else(|| senseless(name, value, "is no date; use milliseconds since 1970 or RFC 3339"))
        }
    }
}

fn senseless(name: &str, value: &Value, cause: &str) -> ScheduleError {
    let mut shown = value.to_string();
    if let Some((end, _)) = shown.char_indices().nth(80) {
        shown.truncate(end);
    }
    ScheduleError::Options { field: format!("repeat.{name}"), cause: format!("{shown} {cause}") }
}

fn members(options: &[u8]) -> Result<Members, ScheduleError> {
    if options.is_empty() {
        return Ok(Members::new());
    }
    serde_json::from_slice(options)
        .map_err(|e| ScheduleError::Options { field: "opts".to_owned(), cause: e.to_string() })
}

// === impl Template ===

impl Template {
    /// Members that belong to a single job, not to all of a scheduler.
    const SINGLE: [&str; 7] = ["delay", "jobId", "timestamp", "parent", "de", "repeat", "prevMillis"];

    /// Of options that were asked for.
    ///
    /// # Errors
    /// When they cannot be encoded.
    pub fn new(options: &JobOptions) -> Result<Self, ScheduleError> {
        let fault =
            |e: serde_json::Error| ScheduleError::Options { field: "opts".to_owned(), cause: e.to_string() };
        let mut members = members(&serde_json::to_vec(options).map_err(fault)?)?;
        members.retain(|name, _| !Self::SINGLE.contains(&name.as_str()));
        if options.attempts == 0 {
            members.remove("attempts");
        }
        let text =
            if members.is_empty() { None } else { Some(serde_json::to_string(&members).map_err(fault)?) };
        Ok(Self(text))
    }

    /// As the record keeps it; none when it asks for nothing.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        self.0.as_deref()
    }
}

// === impl Draft ===

impl Draft {
    /// Of the first job of a scheduler.
    ///
    /// # Errors
    /// When something cannot be encoded.
    pub fn first(
        template: &Template,
        scheduler: &str,
        timetable: &Timetable,
        now: Millis,
    ) -> Result<Self, ScheduleError> {
        let Timetable { rule, start, end, limit } = timetable;
        let mut repeat = Members::new();
        match rule {
            Rule::Every { every, offset } => {
                set(&mut repeat, "every", every)?;
                set_some(&mut repeat, "offset", offset.filter(|offset| *offset > 0))?;
            }
            Rule::Cron { pattern, tz, immediately: _ } => {
                set(&mut repeat, "pattern", pattern)?;
                set_some(&mut repeat, "tz", tz.as_ref())?;
            }
        }
        set_some(&mut repeat, "startDate", *start)?;
        set_some(&mut repeat, "endDate", *end)?;
        set_some(&mut repeat, "limit", *limit)?;
        let members = members(template.as_str().unwrap_or_default().as_bytes())?;
        Self(members).made(scheduler, repeat, 1, now)
    }

    /// Of the job after one with these options.
    ///
    /// # Errors
    /// [`ScheduleError::Options`] when those are not JSON.
    pub fn after(
        options: &[u8],
        repeat: &Repeat,
        scheduler: &str,
        now: Millis,
    ) -> Result<Self, ScheduleError> {
        let mut members = members(options)?;
        let mut again = match members.remove("repeat") {
            Some(raw) => serde_json::from_str(raw.get()).unwrap_or_default(),
            None => Members::new(),
        };
        again.remove("immediately");
        again.retain(|_, raw| raw.get() != "null");
        for (name, date) in [("startDate", repeat.start), ("endDate", repeat.end)] {
            set_some(&mut again, name, date)?;
        }
        for name in ["delay", "jobId", "prevMillis"] {
            members.remove(name);
        }
        Self(members).made(scheduler, again, repeat.count + 1, now)
    }

    fn made(
        mut self,
        scheduler: &str,
        mut repeat: Members,
        count: u64,
        now: Millis,
    ) -> Result<Self, ScheduleError> {
        set(&mut repeat, "count", &count)?;
        set(&mut self.0, "repeat", &repeat)?;
        set(&mut self.0, "repeatJobKey", scheduler)?;
        set(&mut self.0, "timestamp", &now)?;
        Ok(self)
    }

    /// Notes when the job is due, as jobs of a cron pattern do.
    ///
    /// # Errors
    /// Never in practice: a number can be encoded.
    pub fn note_slot(&mut self, slot: Millis) -> Result<(), ScheduleError> {
        set(&mut self.0, "prevMillis", &slot)
    }

    /// The options as JSON up to where the delay and the id follow: an object that is not closed.
    #[must_use]
    pub fn open(&self) -> String {
        // A map of JSON texts can always be encoded, and is never empty.
        let mut text = serde_json::to_string(&self.0).unwrap_or_default();
        text.pop();
        text
    }

    /// The whole options, of a job with this id that waits so many milliseconds.
    #[must_use]
    pub fn close(&self, id: &str, delay: u64) -> String {
        format!("{},\"delay\":{delay},\"jobId\":{}}}", self.open(), Value::from(id))
    }
}

fn set<T: serde::Serialize + ?Sized>(
    members: &mut Members,
    name: &str,
    value: &T,
) -> Result<(), ScheduleError> {
    let raw = to_raw_value(value)
        .map_err(|e| ScheduleError::Options { field: name.to_owned(), cause: e.to_string() })?;
    members.insert(name.to_owned(), raw);
    Ok(())
}

fn set_some<T: serde::Serialize>(
    members: &mut Members,
    name: &str,
    value: Option<T>,
) -> Result<(), ScheduleError> {
    value.map_or(Ok(()), |value| set(members, name, &value))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Millis = 1_795_184_964_629;

    #[test]
    fn what_bullmq_stores_is_read() {
        let of_pattern = Repeat::read(
            br#"{"prevMillis":1795184940000,"repeatJobKey":"s","delay":3796,"repeat":{"tz":"Europe\/Berlin","count":1,
                "pattern":"*\/5 * * * * *","endDate":2051222400000,"offset":null}}"#,
        )
        .unwrap();
        assert_eq!(
            (of_pattern.pattern.as_deref(), of_pattern.tz.as_deref()),
            (Some("*/5 * * * * *"), Some("Europe/Berlin"))
        );
        assert_eq!(
            (of_pattern.slot, of_pattern.count, of_pattern.offset),
            (Some(1_795_184_940_000), 1, None)
        );
        assert_eq!(of_pattern.timetable().unwrap().end, Some(2_051_222_400_000));
        let every = Repeat::read(br#"{"repeat":{"every":60000,"limit":3,"count":2,"offset":500}}"#).unwrap();
        let rule = Rule::Every { every: 60000, offset: Some(500) };
        assert_eq!(every.timetable(), Some(Timetable { rule, start: None, end: None, limit: Some(3) }));
    }

    #[test]
    fn loose_numbers_dates_and_old_names_are_taken() {
        let loose = Repeat::read(
            br#"{"repeat":{"cron":"* * * * *","limit":"7","count":2.0,"startDate":"2030-05-05T00:00:00Z","endDate":"2035-01-01",
                "tz":"Asia/Tokyo","utc":true}}"#,
        )
        .unwrap();
        assert_eq!((loose.pattern.as_deref(), loose.limit, loose.count), (Some("* * * * *"), Some(7), 2));
        assert_eq!((loose.start, loose.end), (Some(1_904_169_600_000), Some(2_051_222_400_000)));
        assert_eq!(loose.tz, None, "utc stands above the zone");
        assert_eq!(Repeat::read(b"{}").unwrap().timetable(), None);
        assert_eq!(Repeat::read(b"").unwrap(), Repeat::default());
        for (bad, said) in [
            (&br#"{"repeat":{"endDate":"soon"}}"#[..], "repeat.endDate: \"soon\" is no date"),
            (br#"{"repeat":{"limit":[]}}"#, "repeat.limit"),
            (b"{broken", "opts"),
        ] {
            let told = Repeat::read(bad).unwrap_err().to_string();
            assert!(told.contains(said), "{told}");
        }
    }

    #[test]
    fn times_are_read_as_people_write_them() {
        for text in [
            "1904169600000",
            "2030-05-05T00:00:00Z",
            "2030-05-05T02:00:00.000+02:00",
            " 2030-05-05 ",
            "2030-05-05T00:00",
            "2030-05-05 00:00:00",
            "Sun, 05 May 2030 00:00:00 GMT",
        ] {
            assert_eq!(parse_time(text), Some(1_904_169_600_000), "{text}");
        }
        assert_eq!(parse_time("tomorrow").or(parse_time("1900-01-01")).or(parse_time("")), None);
    }

    #[test]
    fn the_options_of_the_next_job_are_those_of_this_one() {
        let options = br#"{"x":{"empty":[],"big":12345678901234567890},"removeOnFail":true,"delay":5,"jobId":"repeat:s:1","timestamp":1,
            "prevMillis":1,"attempts":2,"repeat":{"every":60000,"count":1,"limit":3,"offset":null,"immediately":true,"mine":[]}}"#;
        let repeat = Repeat::read(options).unwrap();
        let mut draft = Draft::after(options, &repeat, "s", NOW).unwrap();
        assert_eq!(
            draft.close("repeat:s:2\"", 9),
            r#"{"attempts":2,"removeOnFail":true,"repeat":{"count":2,"every":60000,"limit":3,"mine":[]},"repeatJobKey":"s","timestamp":1795184964629,"x":{"empty":[],"big":12345678901234567890},"delay":9,"jobId":"repeat:s:2\""}"#
        );
        draft.note_slot(7).unwrap();
        assert!(draft.open().contains(r#""prevMillis":7,"#));
    }

    #[test]
    fn the_first_job_has_the_template_and_the_rule() {
        let options = JobOptions { delay: 5, priority: 2, job_id: Some("x".into()), ..JobOptions::default() };
        let template = Template::new(&options).unwrap();
        assert_eq!(template.as_str(), Some(r#"{"priority":2}"#));
        assert_eq!(Template::new(&JobOptions::default()).unwrap().as_str(), None);
        let rule = Rule::Cron { pattern: "* * * * *".into(), tz: Some("UTC".into()), immediately: true };
        let timetable = Timetable { rule, start: None, end: Some(NOW + 5), limit: Some(2) };
        let draft = Draft::first(&template, "s", &timetable, NOW).unwrap();
        assert_eq!(
            draft.close("i", 0),
            r#"{"priority":2,"repeat":{"count":1,"endDate":1795184964634,"limit":2,"pattern":"* * * * *","tz":"UTC"},"repeatJobKey":"s","timestamp":1795184964629,"delay":0,"jobId":"i"}"#
        );
    }
}
