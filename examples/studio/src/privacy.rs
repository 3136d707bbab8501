//! Job `audit`: where in texts there is personal data, as Quebec's Law 25 wants it known.
//!
//! The report says which text, which kind and where, and never what: else it would be one more place with personal data.

use std::collections::BTreeMap;

use jobcell_sdk::prelude::*;
use serde::{Deserialize, Serialize};

/// Findings that are listed; all are counted.
const LISTED_MAX: usize = 200;
/// Characters of an address before and after the `@`.
const EMAIL_PART_MAX: usize = 64;

/// What a producer puts on the queue.
#[derive(Debug, Serialize, Deserialize)]
pub struct Audit {
    /// What is looked through.
    pub documents: Vec<Document>,
}

/// A text.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Document {
    /// Its id, which the report repeats.
    pub id: String,
    /// What is in it.
    pub text: String,
}

/// What can be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// An address of electronic mail.
    Email,
    /// A telephone number of North America.
    Phone,
    /// The number of a credit or debit card, whose digits check.
    Card,
    /// A Canadian social insurance number, whose digits check.
    Sin,
}

/// One finding.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The text.
    pub document: String,
    /// What is there.
    pub kind: Kind,
    /// On which line, from 1.
    pub line: usize,
    /// From which character of it, from 1.
    pub column: usize,
}

/// The report.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Texts that were looked through.
    pub documents: usize,
    /// How often each kind was found.
    pub counts: BTreeMap<Kind, usize>,
    /// The first of them.
    pub findings: Vec<Finding>,
}

/// Takes the jobs named `audit`.
///
/// # Errors
/// Never for a text, whatever it is.
#[handler]
pub fn audit(job: Job<Audit>) -> Result<Report, Failure> {
    let documents = job.data.documents;
    let mut report = Report { documents: documents.len(), counts: BTreeMap::new(), findings: Vec::new() };
    for Document { id, text } in documents {
        for (line, text) in text.lines().enumerate() {
            for (kind, column) in found(text) {
                *report.counts.entry(kind).or_default() += 1;
                if report.findings.len() < LISTED_MAX {
                    let place = Finding { document: id.clone(), kind, line: line + 1, column: column + 1 };
                    report.findings.push(place);
                }
            }
        }
    }
    Ok(report)
}

/// What there is in one line, by the character where it begins.
fn found(line: &str) -> Vec<(Kind, usize)> {
    let chars: Vec<char> = line.chars().collect();
    let mut found = emails(&chars);
    found.extend(numbers(&chars));
    found.sort_by_key(|(_, column)| *column);
    found
}

fn emails(chars: &[char]) -> Vec<(Kind, usize)> {
    let is_local = |c: &char| c.is_ascii_alphanumeric() || "._%+-".contains(*c);
    let is_domain = |c: &char| c.is_ascii_alphanumeric() || ".-".contains(*c);
    let mut found = Vec::new();
    for at in chars.iter().enumerate().filter(|(_, c)| **c == '@').map(|(at, _)| at) {
        let local = chars[..at].iter().rev().take(EMAIL_PART_MAX).take_while(|c| is_local(c)).count();
        let domain: String =
            chars[at + 1..].iter().take(EMAIL_PART_MAX).take_while(|c| is_domain(c)).collect();
        // What ends a sentence is no part of the domain.
        let ending = domain.trim_end_matches(['.', '-']).rsplit_once('.').map(|(_, ending)| ending);
        let is_ending = |text: &str| text.len() >= 2 && text.chars().all(|c| c.is_ascii_alphabetic());
        if local > 0 && ending.is_some_and(is_ending) {
            found.push((Kind::Email, at - local));
        }
    }
    found
}

/// Runs of digits with what people put between them.
fn numbers(chars: &[char]) -> Vec<(Kind, usize)> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < chars.len() {
        if !(chars[at].is_ascii_digit() || matches!(chars[at], '+' | '(')) {
            at += 1;
            continue;
        }
        let run = chars[at..].iter().take_while(|c| c.is_ascii_digit() || " -.()+".contains(**c)).count();
        let text: String = chars[at..at + run].iter().collect();
        let text = text.trim_end_matches(|c: char| !c.is_ascii_digit());
        // Part of a word, such as an order's number: no number by itself.
        let is_in_word = at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_');
        if let Some(kind) = kind(text).filter(|_| !is_in_word) {
            found.push((kind, at));
        }
        at += run.max(1);
    }
    found
}

fn kind(text: &str) -> Option<Kind> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_digit).map(|digit| digit - b'0').collect();
    let groups: Vec<usize> =
        text.split(|c: char| !c.is_ascii_digit()).map(str::len).filter(|digits| *digits > 0).collect();
    match (digits.len(), &groups[..]) {
        (13..=19, groups) if groups.iter().all(|digits| *digits >= 3) && luhn(&digits) => Some(Kind::Card),
        // None begins with 0, and those with 8 are not given out.
        (9, [9] | [3, 3, 3]) if luhn(&digits) && !matches!(digits[0], 0 | 8) => Some(Kind::Sin),
        (10, [10] | [3, 3, 4] | [3, 7]) if is_phone(&digits) => Some(Kind::Phone),
        (11, [11] | [1, 3, 3, 4] | [1, 10]) if digits[0] == 1 && is_phone(&digits[1..]) => Some(Kind::Phone),
        _ => None,
    }
}

/// Area and exchange begin with 2 to 9.
fn is_phone(digits: &[u8]) -> bool {
    digits[0] >= 2 && digits[3] >= 2
}

/// The check of card and insurance numbers: every second digit from the right counts double.
fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| {
            let digit = u32::from(*digit) * if place % 2 == 1 { 2 } else { 1 };
            digit / 10 + digit % 10
        })
        .sum();
    sum.is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use jobcell_sdk::testing::{self, Host};

    use super::*;

    #[test]
    fn each_kind_is_known_in_the_ways_people_write_it() {
        for (line, kind) in [
            ("write to ada.l+x@example.co.uk.", Kind::Email),
            ("call 514-555-0199 now", Kind::Phone),
            ("(514) 555 0199", Kind::Phone),
            ("+1 514.555.0199", Kind::Phone),
            ("4539 1488 0343 6467", Kind::Card),
            ("378282246310005", Kind::Card),
            ("NAS: 130 692 544", Kind::Sin),
            ("130-692-544.", Kind::Sin),
        ] {
            let kinds: Vec<Kind> = found(line).into_iter().map(|(kind, _)| kind).collect();
            assert_eq!(kinds, [kind], "{line}");
        }
    }

    #[test]
    fn what_only_looks_like_it_is_left() {
        for line in [
            "4539 1488 0343 6468",
            "130 692 545",
            "046 454 286",
            "order_4539148803436467",
            "me@home",
            "@ada.example",
            "a@b.c",
            "114-555-0199",
            "2026-11-21 10:30",
            "",
            "ünïcödé 😀",
        ] {
            assert_eq!(found(line), [], "{line}");
        }
    }

    #[test]
    fn the_report_says_where_and_not_what() {
        let text = "Bonjour é\nmoi: ada@example.com, 514-555-0199\n";
        let documents = vec![
            Document { id: "d1".to_owned(), text: text.to_owned() },
            Document { id: "d2".to_owned(), text: "nothing".to_owned() },
        ];
        let report = Host::new().run(audit, testing::job(Audit { documents })).unwrap();
        assert_eq!((report.documents, report.counts[&Kind::Email], report.counts[&Kind::Phone]), (2, 1, 1));
        let place = |finding: &Finding| (finding.document.clone(), finding.line, finding.column);
        assert_eq!(place(&report.findings[0]), ("d1".to_owned(), 2, 6));
        assert_eq!(place(&report.findings[1]), ("d1".to_owned(), 2, 23));
        let written = serde_json::to_string(&report).unwrap();
        assert!(!written.contains("ada") && !written.contains("555"), "{written}");
        assert!(written.contains("\"email\":1"), "{written}");
    }

    #[test]
    fn many_findings_are_counted_and_the_first_listed() {
        let text = "a@b.ca\n".repeat(300);
        let documents = vec![Document { id: "d".to_owned(), text }];
        let report = Host::new().run(audit, testing::job(Audit { documents })).unwrap();
        assert_eq!((report.counts[&Kind::Email], report.findings.len()), (300, LISTED_MAX));
    }
}
