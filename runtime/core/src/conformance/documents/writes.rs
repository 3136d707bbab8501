//! Documents, written one after the other and by many at once.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use tokio::task::JoinSet;

use super::*;
use crate::conformance::keyvalue::HOSTILE_KEYS;
use crate::documents::{DOCUMENT_BYTES_MAX, Log, NAME_BYTES_MAX};

pub async fn what_is_put_is_there_until_it_is_removed(all: All) {
    assert_eq!(get(&all, FOLDER, "a").await, None);
    let first = put(&all, FOLDER, "a", "1").await;
    assert_eq!(get(&all, FOLDER, "a").await, Some(Document { revision: first, content: text("1") }));
    let second = put(&all, FOLDER, "a", "2").await;
    let document = Document { revision: second, content: text("2") };
    assert_eq!(get(&all, FOLDER, "a").await, Some(document.clone()));
    assert_eq!(all.list(FOLDER).await.unwrap(), [("a".to_owned(), document)]);
    remove(&all, FOLDER, "a").await;
    assert_eq!(get(&all, FOLDER, "a").await, None);
    assert_eq!(all.list(FOLDER).await.unwrap(), []);
}

pub async fn every_write_has_a_later_revision(all: All) {
    let mut last = revision(&all, FOLDER).await;
    for n in 0..50 {
        let name = format!("d{}", n % 3);
        let now =
            if n % 7 == 6 { remove(&all, FOLDER, &name).await } else { put(&all, FOLDER, &name, "x").await };
        assert!(now > last, "{now} after {last}");
        assert_eq!(revision(&all, FOLDER).await, now, "the folder's revision is that of its last write");
        last = now;
    }
}

pub async fn revisions_are_never_used_again(all: All) {
    let mut seen = BTreeSet::new();
    for _ in 0..10 {
        let made = put(&all, FOLDER, "a", "1").await;
        assert!(seen.insert(made) && seen.insert(remove(&all, FOLDER, "a").await), "{seen:?}");
        // What was seen before a removal does not fit what was made after it.
        let again = put(&all, FOLDER, "a", "1").await;
        assert!(seen.insert(again), "{seen:?}");
        let over = put_over(&all, "a", "stale", Expect::Revision(made)).await;
        assert_eq!(over, Put::Conflict(Some(Document { revision: again, content: text("1") })));
    }
}

pub async fn a_write_needs_what_it_expects(all: All) {
    assert_eq!(put_over(&all, "a", "x", Expect::Revision(0)).await, Put::Conflict(None));
    assert_eq!(put_over(&all, "a", "x", Expect::Revision(1)).await, Put::Conflict(None));
    let first = written(put_over(&all, "a", "1", Expect::Absent).await);
    let there = Document { revision: first, content: text("1") };
    assert_eq!(put_over(&all, "a", "x", Expect::Absent).await, Put::Conflict(Some(there.clone())));
    for other in [0, first - 1, first + 1, u64::MAX] {
        let refused = put_over(&all, "a", "x", Expect::Revision(other)).await;
        assert_eq!(refused, Put::Conflict(Some(there.clone())), "{other}");
    }
    assert_eq!(revision(&all, FOLDER).await, first, "what is refused is no change");
    let second = written(put_over(&all, "a", "2", Expect::Revision(first)).await);
    let third = written(put_over(&all, "a", "3", Expect::Anything).await);
    assert!(first < second && second < third);
    // Another document is no obstacle, though it has the folder's revision.
    written(put_over(&all, "b", "1", Expect::Absent).await);
    written(put_over(&all, "a", "4", Expect::Revision(third)).await);
    assert_eq!(get(&all, FOLDER, "a").await.unwrap().content, "4");
}

pub async fn a_removal_needs_what_it_expects(all: All) {
    let first = put(&all, FOLDER, "a", "1").await;
    let there = Put::Conflict(Some(Document { revision: first, content: text("1") }));
    assert_eq!(all.remove(FOLDER, "a", Expect::Absent).await.unwrap(), there);
    assert_eq!(all.remove(FOLDER, "a", Expect::Revision(first + 1)).await.unwrap(), there);
    assert_eq!(get(&all, FOLDER, "a").await.unwrap().revision, first);
    assert!(written(all.remove(FOLDER, "a", Expect::Revision(first)).await.unwrap()) > first);
    assert_eq!(all.remove(FOLDER, "a", Expect::Revision(first)).await.unwrap(), Put::Conflict(None));
}

pub async fn removing_what_is_not_there_is_no_change(all: All) {
    assert_eq!(remove(&all, FOLDER, "a").await, 0);
    let now = put(&all, FOLDER, "b", "1").await;
    assert_eq!(remove(&all, FOLDER, "a").await, now);
    assert_eq!(all.remove(FOLDER, "a", Expect::Absent).await.unwrap(), Put::Written(now));
    assert_eq!(revision(&all, FOLDER).await, now);
}

pub async fn folders_do_not_mix(all: All) {
    for folder in Folder::ALL {
        assert_eq!(get(&all, folder, "a").await, None, "{folder:?}");
        assert_eq!(revision(&all, folder).await, 0, "{folder:?}");
        put(&all, folder, "a", folder.as_str()).await;
    }
    for folder in Folder::ALL {
        assert_eq!(get(&all, folder, "a").await.unwrap().content, folder.as_str());
        assert_eq!(names(&all, folder).await, ["a"]);
    }
    remove(&all, Folder::Orders, "a").await;
    assert_eq!(names(&all, Folder::Hosts).await, ["a"]);
}

pub async fn names_are_any_text_and_come_in_order(all: All) {
    let longest = "n".repeat(NAME_BYTES_MAX);
    let mut expected: Vec<&str> = HOSTILE_KEYS.to_vec();
    expected.push(&longest);
    for folder in Folder::ALL {
        for name in &expected {
            put(&all, folder, name, name).await;
        }
        for name in &expected {
            assert_eq!(get(&all, folder, name).await.unwrap().content, *name);
        }
        let mut sorted = expected.clone();
        sorted.sort_unstable();
        assert_eq!(names(&all, folder).await, sorted, "{folder:?}");
        for name in &expected {
            remove(&all, folder, name).await;
        }
        assert_eq!(names(&all, folder).await, Vec::<String>::new());
    }
    assert_eq!(get(&all, FOLDER, "").await, None);
}

pub async fn contents_are_any_bytes(all: All) {
    let every: Vec<u8> = (0..=255).collect();
    for content in [Bytes::new(), Bytes::from(every), text(" 1 2 3"), text("0 0 "), text("\r\n$-1\r\n")] {
        for folder in Folder::ALL {
            let done = all.put(folder, "a", content.clone(), Expect::Anything, None).await.unwrap();
            let document = Document { revision: written(done), content: content.clone() };
            assert_eq!(get(&all, folder, "a").await, Some(document.clone()));
            assert_eq!(all.list(folder).await.unwrap(), [("a".to_owned(), document)]);
        }
    }
}

pub async fn what_is_over_its_bound_is_refused(all: All) {
    let (most, more) = (vec![b'x'; DOCUMENT_BYTES_MAX], vec![b'x'; DOCUMENT_BYTES_MAX + 1]);
    let long = "n".repeat(NAME_BYTES_MAX + 1);
    for folder in Folder::ALL {
        let put = |name: &str, content: &[u8]| {
            let (name, content) = (name.to_owned(), Bytes::copy_from_slice(content));
            let all = Arc::clone(&all);
            async move { all.put(folder, &name, content, Expect::Anything, None).await }
        };
        assert_rejected(put("a", &more).await, &DOCUMENT_BYTES_MAX.to_string());
        assert_rejected(put("", b"x").await, "name");
        assert_rejected(put(&long, b"x").await, &NAME_BYTES_MAX.to_string());
        assert_eq!(names(&all, folder).await, Vec::<String>::new());
        put("a", &most).await.unwrap();
        assert_eq!(get(&all, folder, "a").await.unwrap().content, most);
    }
    assert_rejected(all.keep_blob("", Bytes::new()).await, "name");
    assert_rejected(all.keep_blob(&long, Bytes::new()).await, &NAME_BYTES_MAX.to_string());
    assert_rejected(all.append(&Log::Audit, more.into(), 9).await, &DOCUMENT_BYTES_MAX.to_string());
    for name in ["", &long] {
        assert_rejected(all.append(&Log::Handler(name.to_owned()), Bytes::new(), 9).await, "name");
    }
}

pub async fn of_many_writers_over_one_revision_one_wins(all: All) {
    const WRITERS: usize = 16;
    const EACH: usize = 8;
    put(&all, FOLDER, "n", "0").await;
    let mut writers = JoinSet::new();
    for _ in 0..WRITERS {
        let all = Arc::clone(&all);
        writers.spawn(async move {
            let (mut won, mut seen) = (Vec::new(), get(&all, FOLDER, "n").await.unwrap());
            while won.len() < EACH {
                let sum = std::str::from_utf8(&seen.content).unwrap().parse::<usize>().unwrap() + 1;
                match put_over(&all, "n", &sum.to_string(), Expect::Revision(seen.revision)).await {
                    Put::Written(revision) => {
                        won.push((seen.revision, revision));
                        seen = Document { revision, content: text(&sum.to_string()) };
                    }
                    Put::Conflict(there) => seen = there.expect("nobody removes it"),
                }
            }
            won
        });
    }
    let won: Vec<(u64, u64)> = writers.join_all().await.concat();
    let over: BTreeSet<u64> = won.iter().map(|(over, _)| *over).collect();
    let made: BTreeSet<u64> = won.iter().map(|(_, made)| *made).collect();
    assert_eq!((over.len(), made.len()), (won.len(), won.len()), "one wins over each revision");
    assert_eq!(get(&all, FOLDER, "n").await.unwrap().content, (WRITERS * EACH).to_string());
}

pub async fn of_many_makers_one_wins(all: All) {
    for round in 0..8 {
        let name = format!("r{round}");
        let mut makers = JoinSet::new();
        for maker in 0..12 {
            let (all, name) = (Arc::clone(&all), name.clone());
            makers.spawn(async move { put_over(&all, &name, &maker.to_string(), Expect::Absent).await });
        }
        let answers = makers.join_all().await;
        let there = get(&all, FOLDER, &name).await.unwrap();
        let won = answers.iter().filter(|answer| matches!(answer, Put::Written(_))).count();
        assert_eq!(won, 1);
        for answer in answers {
            match answer {
                Put::Written(revision) => assert_eq!(revision, there.revision),
                Put::Conflict(found) => assert_eq!(found, Some(there.clone())),
            }
        }
    }
}

pub async fn readers_never_see_half_a_write(all: All) {
    let is_over = Arc::new(AtomicBool::new(false));
    // A task of its own that makes way: documents that never wait, as those in memory, would not let the writer run.
    let reads = tokio::spawn({
        let (all, is_over) = (Arc::clone(&all), Arc::clone(&is_over));
        async move {
            let mut is_last = false;
            while !is_last {
                is_last = is_over.load(Ordering::Acquire);
                let a = get(&all, FOLDER, "a").await.map(|a| ("a".to_owned(), a));
                for (_, Document { content, .. }) in all.list(FOLDER).await.unwrap().into_iter().chain(a) {
                    let content = std::str::from_utf8(&content).unwrap();
                    let first = &content[..content.len() / 10_000];
                    assert_eq!(content, first.repeat(10_000), "of one write");
                }
                tokio::task::yield_now().await;
            }
        }
    });
    for n in 0..60 {
        let content = n.to_string().repeat(10_000);
        put(&all, FOLDER, "a", &content).await;
        put(&all, FOLDER, "b", &content).await;
    }
    is_over.store(true, Ordering::Release);
    reads.await.unwrap();
}
