//! Lists that forget their oldest entries.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::task::JoinSet;

use super::*;
use crate::conformance::keyvalue::HOSTILE_KEYS;
use crate::documents::{DOCUMENT_BYTES_MAX, Entries, Log};

async fn append(all: &All, log: &Log, content: &str, keep: u32) -> u64 {
    all.append(log, text(content), keep).await.unwrap()
}

/// What the entries say, and their numbers.
async fn entries(all: &All, log: &Log, before: Option<u64>, limit: u32) -> Vec<(String, u64)> {
    let found = all.entries(log, before, limit).await.unwrap();
    found.into_iter().map(|entry| (String::from_utf8(entry.content.into()).unwrap(), entry.number)).collect()
}

pub async fn logs_are_read_newest_first_and_page_by_page(all: All) {
    let log = Log::Handler("media".to_owned());
    assert_eq!(entries(&all, &log, None, 9).await, []);
    let mut expected = Vec::new();
    for n in 0..25 {
        expected.push((n.to_string(), append(&all, &log, &n.to_string(), 100).await));
    }
    assert!(expected.windows(2).all(|two| two[0].1 < two[1].1), "{expected:?}");
    expected.reverse();
    assert_eq!(entries(&all, &log, None, 100).await, expected);
    assert_eq!(entries(&all, &log, None, 0).await, []);
    let (mut read, mut before) = (Vec::new(), None);
    loop {
        let page = entries(&all, &log, before, 7).await;
        assert!(page.len() <= 7);
        let Some((_, last)) = page.last() else { break };
        before = Some(*last);
        read.extend(page);
        // What is added meanwhile shifts no page.
        append(&all, &log, "later", 100).await;
    }
    assert_eq!(read, expected);
    for before in [0, 1] {
        assert_eq!(entries(&all, &log, Some(before), 9).await, []);
    }
    assert_eq!(entries(&all, &log, Some(u64::MAX), 100).await.len(), 29);
}

pub async fn logs_forget_their_oldest_entries(all: All) {
    let log = Log::Audit;
    let mut last = 0;
    for n in 0..30 {
        let number = append(&all, &log, &n.to_string(), 10).await;
        assert!(number > last);
        last = number;
    }
    let kept: Vec<String> = entries(&all, &log, None, 100).await.into_iter().map(|(said, _)| said).collect();
    let expected: Vec<String> = (20..30).rev().map(|n: u32| n.to_string()).collect();
    assert_eq!(kept, expected);
    // Fewer from now on; the new one stays in any case, and its number is new too.
    for keep in [2, 1, 0] {
        let number = append(&all, &log, "new", keep).await;
        assert!(number > last);
        last = number;
        let kept = entries(&all, &log, None, 100).await;
        assert_eq!(kept.len(), keep.max(1) as usize);
        assert_eq!(kept[0], ("new".to_owned(), number));
    }
}

pub async fn logs_do_not_mix(all: All) {
    let names = HOSTILE_KEYS.into_iter().chain(["audit", "a", "a:b", "handler:a"]);
    let mut logs: Vec<Log> =
        BTreeSet::from_iter(names).into_iter().map(|name| Log::Handler(name.to_owned())).collect();
    logs.extend(["a", "audit", "handler:a"].map(|queue| Log::Recordings(queue.to_owned())));
    logs.push(Log::Audit);
    for (n, log) in logs.iter().enumerate() {
        append(&all, log, &n.to_string(), 9).await;
    }
    for (n, log) in logs.iter().enumerate() {
        let said: Vec<String> = entries(&all, log, None, 9).await.into_iter().map(|(said, _)| said).collect();
        assert_eq!(said, [n.to_string()], "{log:?}");
    }
}

pub async fn a_write_and_what_a_log_says_of_it_are_one(all: All) {
    let log = Log::Handler("media".to_owned());
    let put = |content: &'static str, expect, said: Vec<&'static str>, keep| {
        let (all, log) = (&all, &log);
        async move {
            let contents: Vec<Bytes> = said.into_iter().map(text).collect();
            let entries = Entries { log, contents: &contents, keep };
            all.put_logged(FOLDER, "media", text(content), expect, entries).await
        }
    };
    let said = || async {
        let found = entries(&all, &log, None, 9).await;
        assert!(found.windows(2).all(|two| two[0].1 > two[1].1), "{found:?}");
        found.into_iter().map(|(text, _)| text).collect::<Vec<_>>()
    };
    append(&all, &log, "before", 9).await;
    let first = written(put("1", Expect::Absent, vec!["one", "two"], 9).await.unwrap());
    let there = Document { revision: first, content: text("1") };
    assert_eq!(get(&all, FOLDER, "media").await, Some(there.clone()));
    assert_eq!(said().await, ["two", "one", "before"]);

    // What is not written is not told, and what cannot be told is not written.
    let conflict = put("2", Expect::Absent, vec!["three"], 9).await.unwrap();
    assert_eq!(conflict, Put::Conflict(Some(there.clone())));
    let large = "x".repeat(DOCUMENT_BYTES_MAX + 1).leak();
    assert_rejected(put("2", Expect::Revision(first), vec!["three", large], 9).await, "at most");
    assert_rejected(put(large, Expect::Revision(first), vec!["three"], 9).await, "at most");
    assert_eq!(get(&all, FOLDER, "media").await, Some(there));
    assert_eq!(said().await, ["two", "one", "before"]);

    let second = written(put("2", Expect::Revision(first), vec!["three", "four"], 3).await.unwrap());
    assert!(second > first && revision(&all, FOLDER).await == second);
    assert_eq!(said().await, ["four", "three", "two"]);
    written(put("3", Expect::Revision(second), vec![], 3).await.unwrap());
    assert_eq!(said().await, ["four", "three", "two"]);
}

pub async fn of_many_entries_at_once_each_has_a_number_of_its_own(all: All) {
    let mut writers = JoinSet::new();
    for writer in 0..10 {
        let all = Arc::clone(&all);
        writers.spawn(async move {
            let mut numbers = Vec::new();
            for n in 0..10 {
                let said = format!("{writer}/{n}");
                numbers.push((said.clone(), append(&all, &Log::Audit, &said, 1000).await));
            }
            assert!(numbers.windows(2).all(|two| two[0].1 < two[1].1), "{numbers:?}");
            numbers
        });
    }
    let mut written = writers.join_all().await.concat();
    written.sort_unstable_by_key(|(_, number)| std::cmp::Reverse(*number));
    assert_eq!(entries(&all, &Log::Audit, None, 1000).await, written);
}
