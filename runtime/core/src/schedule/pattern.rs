//! Cron patterns as BullMQ's clients write them, put into the words of the library that searches with them.
//!
//! The two read the same text differently (`5/15`, `1-7` as days of the week, `?` in any field, `1,3L`), so every field
//! is read here, by the rules of `cron-parser`, and handed on as a plain list of numbers.

/// Longer than any pattern that lists every value of every field.
const LENGTH_MAX: usize = 1024;

/// What a name stands for.
const ALIASES: [(&str, &str); 10] = [
    ("@yearly", "0 0 0 1 1 *"),
    ("@annually", "0 0 0 1 1 *"),
    ("@monthly", "0 0 0 1 * *"),
    ("@weekly", "0 0 0 * * 0"),
    ("@daily", "0 0 0 * * *"),
    ("@hourly", "0 0 * * * *"),
    ("@minutely", "0 * * * * *"),
    ("@secondly", "* * * * * *"),
    ("@weekdays", "0 0 0 * * 1-5"),
    ("@weekends", "0 0 0 * * 0,6"),
];

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// One of the six fields: what it may hold.
struct Field {
    name: &'static str,
    min: u32,
    max: u32,
    /// Names for the numbers from `min` on.
    names: &'static [&'static str],
}

const FIELDS: [Field; 6] = [
    Field { name: "second", min: 0, max: 59, names: &[] },
    Field { name: "minute", min: 0, max: 59, names: &[] },
    Field { name: "hour", min: 0, max: 23, names: &[] },
    Field { name: "day of the month", min: 1, max: 31, names: &[] },
    Field { name: "month", min: 1, max: 12, names: &MONTHS },
    Field { name: "day of the week", min: 0, max: 7, names: &DAYS },
];
const HOUR: usize = 2;
const DAY_OF_MONTH: usize = 3;
const DAY_OF_WEEK: usize = 5;

/// A pattern in the words of the library.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Translated {
    /// Six fields.
    pub(super) text: String,
    /// Every hour of the day is meant, so that a day of 23 or 25 hours has that many.
    pub(super) every_hour: bool,
}

/// The days or times one field names.
#[derive(Default)]
struct Values {
    /// Bit `n` is the number `n`.
    numbers: u64,
    /// The last day of the month.
    last: bool,
    /// Days of the week of which the last in a month is meant: bit `n` is the number `n`.
    last_of: u64,
}

/// # Errors
/// What is wrong and how to write it.
pub(super) fn translate(pattern: &str) -> Result<Translated, String> {
    if pattern.len() > LENGTH_MAX {
        return Err(format!("it has {} characters; {LENGTH_MAX} are enough for any", pattern.len()));
    }
    let pattern = ALIASES.iter().find(|(alias, _)| *alias == pattern).map_or(pattern, |(_, meaning)| meaning);
    if pattern.trim_start().starts_with('@') {
        let known = ALIASES.map(|(alias, _)| alias).join(", ");
        return Err(format!("{:?} is no alias; use one of {known}, or five or six fields", pattern.trim()));
    }
    let mut words: Vec<&str> = pattern.split_whitespace().collect();
    if words.len() == FIELDS.len() - 1 {
        words.insert(0, "0");
    }
    if words.len() != FIELDS.len() {
        return Err(format!(
            "it has {} fields; write five (minute, hour, day of the month, month, day of the week), or six with the \
             second in front",
            words.len()
        ));
    }
    let mut text = Vec::with_capacity(FIELDS.len());
    let mut every_hour = false;
    for (i, word) in words.iter().enumerate() {
        let values = if i == DAY_OF_WEEK && word.contains('#') {
            text.push(nth(word)?);
            continue;
        } else {
            read(i, word)?
        };
        every_hour |= i == HOUR && values.numbers == (1 << 24) - 1;
        // Only a field that is `*` to the letter leaves the choice of the day to the other one.
        text.push(if *word == "*" || *word == "?" { "*".to_owned() } else { values.list() });
    }
    Ok(Translated { text: text.join(" "), every_hour })
}

impl Values {
    fn list(&self) -> String {
        let bits = |set: u64| (0..64).filter(move |n| set & (1 << n) != 0);
        let numbers = bits(self.numbers).map(|n| n.to_string());
        let last_of = bits(self.last_of).map(|n| format!("{n}#L"));
        let last = self.last.then(|| "L".to_owned());
        numbers.chain(last_of).chain(last).collect::<Vec<_>>().join(",")
    }
}

/// `day#n`: the `n`th such day of the month.
fn nth(word: &str) -> Result<String, String> {
    let fault = || {
        format!(
            "{word:?} is no day of the week; write one day, # and 1 to 5, such as MON#2 for the second Monday of the month"
        )
    };
    let (day, n) = word.split_once('#').ok_or_else(fault)?;
    let n: u32 = n.parse().ok().filter(|n| (1..=5).contains(n)).ok_or_else(fault)?;
    if day.contains([',', '-', '/', 'L']) {
        return Err(fault());
    }
    let days = read(DAY_OF_WEEK, day)?.numbers;
    let named = (0..7).filter(|day| days & (1 << day) != 0).map(|day| format!("{day}#{n}"));
    Ok(named.collect::<Vec<_>>().join(","))
}

fn read(field: usize, word: &str) -> Result<Values, String> {
    let mut values = Values::default();
    for part in word.split(',') {
        read_part(field, part, &mut values).map_err(|cause| {
            let Field { name, .. } = FIELDS[field];
            format!("{word:?} is no {name}: {cause}")
        })?;
    }
    if field == DAY_OF_WEEK {
        // Sunday has two numbers.
        for set in [&mut values.numbers, &mut values.last_of] {
            *set = (*set | *set >> 7) & 0x7f;
        }
    }
    Ok(values)
}

fn read_part(field: usize, part: &str, values: &mut Values) -> Result<(), String> {
    let Field { min, max, .. } = FIELDS[field];
    if let Some(before) = part.strip_suffix('L') {
        return match field {
            DAY_OF_MONTH if before.len() <= 2 && before.bytes().all(|b| b.is_ascii_digit()) => {
                values.last = true;
                Ok(())
            }
            DAY_OF_WEEK if before.is_empty() => {
                Err("L needs the day of which the last in a month is meant; write 5L for the last Friday"
                    .to_owned())
            }
            DAY_OF_WEEK => {
                values.last_of |= 1 << number(field, before)?;
                Ok(())
            }
            _ => Err("L is for days only".to_owned()),
        };
    }
    let (range, step) = match part.split_once('/') {
        None => (part, None),
        Some((range, step)) => {
            let step: usize = step
                .parse()
                .ok()
                .filter(|step| *step > 0)
                .ok_or_else(|| format!("the step {step:?} is no number above 0"))?;
            (range, Some(step))
        }
    };
    let (first, last) = match range.split_once('-') {
        _ if range == "*" || range == "?" => (min, max),
        Some((first, last)) => (number(field, first)?, number(field, last)?),
        None => {
            let first = number(field, range)?;
            (first, if step.is_some() { max } else { first })
        }
    };
    if first > last {
        return Err(format!("the range {range:?} ends before it begins"));
    }
    for n in (first..=last).step_by(step.unwrap_or(1)) {
        values.numbers |= 1 << n;
    }
    Ok(())
}

fn number(field: usize, text: &str) -> Result<u32, String> {
    let Field { min, max, names, .. } = FIELDS[field];
    if let Some(at) = names.iter().position(|name| name.eq_ignore_ascii_case(text)) {
        return Ok(min + u32::try_from(at).unwrap_or(0));
    }
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match text.parse().ok().filter(|_| digits) {
        Some(n) if (min..=max).contains(&n) => Ok(n),
        Some(n) => Err(format!("{n} is out of range; use {min} to {max}")),
        None if text.contains('H') => {
            Err("H would be another number each time the pattern is read; write a number".to_owned())
        }
        None => {
            let named = if names.is_empty() {
                String::new()
            } else {
                format!(", or {} to {}", names[0], names[names.len() - 1])
            };
            Err(format!("{text:?} is not understood; use {min} to {max}{named}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(pattern: &str) -> String {
        translate(pattern).unwrap().text
    }

    #[test]
    fn five_fields_run_at_second_zero() {
        assert_eq!(text("30 4 1,15 * 5"), "0 30 4 1,15 * 5");
        assert_eq!(text("  5 30\t4 * * *  "), "5 30 4 * * *");
        assert!(translate("* * * *").unwrap_err().contains("4 fields"));
        assert!(translate("* * * * * * *").unwrap_err().contains("7 fields"));
        assert!(translate("").unwrap_err().contains("0 fields"));
    }

    #[test]
    fn ranges_steps_and_names_become_lists() {
        assert_eq!(
            text("*/20 5/9 1-10/4 ? feb,NOV mon-Wed"),
            "0,20,40 5,14,23,32,41,50,59 1,5,9 * 2,11 1,2,3"
        );
        assert_eq!(text("0 0 * * 1-7"), "0 0 0 * * 0,1,2,3,4,5,6");
        assert_eq!(text("0 0 * * */2"), "0 0 0 * * 0,2,4,6");
        assert_eq!(text("0 0 * * 5/2"), "0 0 0 * * 0,5");
        assert_eq!(
            text("0 0 1-31 * *"),
            format!("0 0 0 {} * *", (1..=31).map(|n| n.to_string()).collect::<Vec<_>>().join(","))
        );
    }

    #[test]
    fn last_and_nth_days_are_kept() {
        assert_eq!(text("0 0 1,L * *"), "0 0 0 1,L * *");
        assert_eq!(text("0 0 * * 1,friL"), "0 0 0 * * 1,5#L");
        assert_eq!(text("0 0 * * 7#2"), "0 0 0 * * 0#2");
        assert_eq!(text("0 0 * * *#1"), "0 0 0 * * 0#1,1#1,2#1,3#1,4#1,5#1,6#1");
        for bad in ["0 0 * * L", "0 0 * * 1#6", "0 0 * * 1,2#1", "0 0 * * 1L#1", "L 0 * * *", "0 0 L-2 * *"] {
            assert!(translate(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn whether_every_hour_is_meant_is_told() {
        assert!(translate("0 * * * *").unwrap().every_hour);
        assert!(translate("0 */1 * * *").unwrap().every_hour);
        assert!(!translate("0 0-22 * * *").unwrap().every_hour);
    }

    #[test]
    fn aliases_are_those_of_bullmqs_parser() {
        assert_eq!(text("@hourly"), "0 0 * * * *");
        assert_eq!(text("@weekdays"), "0 0 0 * * 1,2,3,4,5");
        assert!(translate("@midnight").unwrap_err().contains("@daily"));
        assert!(translate(" @reboot").is_err());
    }

    #[test]
    fn what_is_wrong_is_told_with_the_fix() {
        for (bad, said) in [
            ("60 * * * *", "60 is out of range; use 0 to 59"),
            ("* * * 13 *", "\"13\" is no month"),
            ("* * 0 * *", "use 1 to 31"),
            ("*/0 * * * *", "step \"0\""),
            ("5-1 * * * *", "ends before it begins"),
            ("1,,2 * * * *", "\"\" is not understood"),
            ("/5 * * * *", "not understood"),
            ("*-5 * * * *", "not understood"),
            ("-1 * * * *", "not understood"),
            ("H * * * *", "write a number"),
            ("* * * * someday", "or sun to sat"),
            ("1.5 * * * *", "not understood"),
            ("99999999999 * * * *", "not understood"),
            ("0 0 15W * *", "not understood"),
        ] {
            let told = translate(bad).unwrap_err();
            assert!(told.contains(said), "{bad}: {told}");
        }
        assert!(translate(&"1,".repeat(600)).unwrap_err().contains("1200"));
    }
}
