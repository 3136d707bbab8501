//! What every [`Documents`] must do, as tests that each adapter runs on itself.
//!
//! The line in an adapter's test file, where `fresh` is an `async fn() -> DocumentsFixture`:
//!
//! ```text
//! jobcell_core::documents_conformance!(fresh);
//! ```

#[doc(hidden)]
pub mod blobs;
#[doc(hidden)]
pub mod changes;
#[doc(hidden)]
pub mod expiry;
#[doc(hidden)]
pub mod logs;
#[doc(hidden)]
pub mod writes;

use std::any::Any;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::documents::{Document, Documents, Expect, Folder, Put};
use crate::store::StoreError;

/// Documents without any, and what must live as long as they do.
pub struct DocumentsFixture {
    /// The documents.
    pub documents: Arc<dyn Documents>,
    /// Dropped after the case.
    pub guard: Box<dyn Any + Send + Sync>,
}

/// Makes the module `documents_conformance` with one test for each case. Takes the name of an
/// `async fn() -> DocumentsFixture` of the calling module.
#[macro_export]
macro_rules! documents_conformance {
    ($make:ident) => {
        mod documents_conformance {
            use super::$make;
            $crate::documents_conformance!(@table tests [$make]);
        }
    };
    (@tests [$make:ident] $($group:ident { $($case:ident)* })*) => {
        $(mod $group {
            use super::$make;
            $(#[::tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let fixture = $make().await;
                let case = $crate::conformance::documents::$group::$case(fixture.documents.clone());
                let limit = $crate::conformance::CASE_TIMEOUT;
                ::tokio::time::timeout(limit, Box::pin(case)).await.expect("the case did not end in time");
                drop(fixture);
            })*
        })*
    };
    (@names [] $($group:ident { $($case:ident)* })*) => {
        &[$((stringify!($group), &[$(stringify!($case)),*])),*]
    };
    (@table $then:ident [$($arg:tt)*]) => {
        $crate::documents_conformance! { @$then [$($arg)*]
            writes {
                what_is_put_is_there_until_it_is_removed
                every_write_has_a_later_revision
                revisions_are_never_used_again
                a_write_needs_what_it_expects
                a_removal_needs_what_it_expects
                removing_what_is_not_there_is_no_change
                folders_do_not_mix
                names_are_any_text_and_come_in_order
                contents_are_any_bytes
                what_is_over_its_bound_is_refused
                of_many_writers_over_one_revision_one_wins
                of_many_makers_one_wins
                readers_never_see_half_a_write
            }
            expiry {
                a_document_expires
                an_expired_document_is_expected_to_be_absent
                writing_again_sets_the_expiry_anew
            }
            changes {
                a_folder_that_nobody_wrote_has_revision_nought
                a_change_wakes_who_waits
                a_removal_wakes_who_waits
                a_change_of_another_folder_wakes_nobody
                what_was_not_seen_yet_is_told_at_once
                no_change_is_missed
                many_wait_at_once
                a_wait_can_be_dropped
            }
            blobs {
                blobs_are_kept_until_they_are_forgotten
                the_largest_blob_comes_whole_and_a_larger_one_is_refused
            }
            logs {
                logs_are_read_newest_first_and_page_by_page
                logs_forget_their_oldest_entries
                logs_do_not_mix
                a_write_and_what_a_log_says_of_it_are_one
                of_many_entries_at_once_each_has_a_number_of_its_own
            }
        }
    };
}

/// The cases by module: the table of [`documents_conformance!`](crate::documents_conformance).
pub const CASES: &[(&str, &[&str])] = crate::documents_conformance!(@table names []);

/// How long anything may take on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long nothing is waited for.
const MOMENT: Duration = Duration::from_millis(100);

const FOLDER: Folder = Folder::Handlers;

type All = Arc<dyn Documents>;

fn text(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

/// Writes over whatever there is.
async fn put(all: &All, folder: Folder, name: &str, content: &str) -> u64 {
    written(all.put(folder, name, text(content), Expect::Anything, None).await.unwrap())
}

/// Writes if what is expected is there.
async fn put_over(all: &All, name: &str, content: &str, expect: Expect) -> Put {
    all.put(FOLDER, name, text(content), expect, None).await.unwrap()
}

async fn remove(all: &All, folder: Folder, name: &str) -> u64 {
    written(all.remove(folder, name, Expect::Anything).await.unwrap())
}

fn written(put: Put) -> u64 {
    match put {
        Put::Written(revision) => revision,
        Put::Conflict(there) => panic!("nothing was expected, and {there:?} was in the way"),
    }
}

async fn get(all: &All, folder: Folder, name: &str) -> Option<Document> {
    all.get(folder, name).await.unwrap()
}

async fn names(all: &All, folder: Folder) -> Vec<String> {
    all.list(folder).await.unwrap().into_iter().map(|(name, _)| name).collect()
}

async fn revision(all: &All, folder: Folder) -> u64 {
    all.changed(folder, None, PATIENCE).await.unwrap()
}

fn assert_rejected<T: std::fmt::Debug>(answer: Result<T, StoreError>, part: &str) {
    match answer {
        Err(StoreError::Rejected(cause)) => assert!(cause.contains(part), "{cause}"),
        other => panic!("{other:?} where a refusal was expected"),
    }
}

/// Waits until the document is gone.
async fn until_gone(all: &All, folder: Folder, name: &str) {
    let deadline = Instant::now() + PATIENCE;
    while get(all, folder, name).await.is_some() {
        assert!(Instant::now() < deadline, "{name} does not expire");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documents::MemoryDocuments;

    async fn fresh() -> DocumentsFixture {
        DocumentsFixture { documents: Arc::new(MemoryDocuments::default()), guard: Box::new(()) }
    }

    crate::documents_conformance!(fresh);

    #[test]
    fn every_case_written_is_in_the_table() {
        let sources = [
            ("writes", include_str!("documents/writes.rs")),
            ("expiry", include_str!("documents/expiry.rs")),
            ("changes", include_str!("documents/changes.rs")),
            ("blobs", include_str!("documents/blobs.rs")),
            ("logs", include_str!("documents/logs.rs")),
        ];
        for (group, source) in sources {
            let written: Vec<&str> = source
                .lines()
                .filter_map(|line| line.strip_prefix("pub async fn ")?.split('(').next())
                .collect();
            let listed = CASES.iter().find(|(name, _)| *name == group).map_or(&[][..], |(_, cases)| cases);
            assert_eq!(written, listed, "module {group}");
        }
        assert_eq!(CASES.len(), sources.len());
    }
}
