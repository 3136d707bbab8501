//! Which handlers and versions are gone, so that what was counted for them is dropped after a while.
//!
//! A fleet that is deployed to every day would else show the versions of a year. They stay long enough for the last
//! values to be scraped; the sums live on in Prometheus.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use tokio::time::Instant;

/// How long what is gone is still shown: many scrapes, also for one who scrapes every minute and misses some.
pub(super) const SHOWN_FOR: Duration = Duration::from_secs(15 * 60);

/// A version of a handler, by names.
pub(super) type VersionName = (String, String);

/// What is loaded, and what no longer is since when.
#[derive(Debug, Default)]
pub(super) struct Retired {
    since: HashMap<VersionName, Instant>,
}

/// What is to be dropped now.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Gone {
    /// Versions that were gone for long enough.
    pub(super) versions: Vec<VersionName>,
    /// Handlers of which no version is left.
    pub(super) handlers: Vec<String>,
}

// === impl Retired ===

impl Retired {
    /// Compares what is counted with what is loaded.
    pub(super) fn look(
        &mut self,
        counted: HashSet<VersionName>,
        loaded: &HashSet<VersionName>,
        now: Instant,
    ) -> Gone {
        self.since.retain(|version, _| counted.contains(version) && !loaded.contains(version));
        let mut gone = Gone::default();
        let mut kept: HashSet<&str> = loaded.iter().map(|(handler, _)| handler.as_str()).collect();
        for version in counted.iter().filter(|version| !loaded.contains(*version)) {
            let since = *self.since.entry(version.clone()).or_insert(now);
            if now.duration_since(since) >= SHOWN_FOR {
                gone.versions.push(version.clone());
            } else {
                kept.insert(&version.0);
            }
        }
        let handlers: HashSet<&String> = gone.versions.iter().map(|(handler, _)| handler).collect();
        gone.handlers = handlers.into_iter().filter(|name| !kept.contains(name.as_str())).cloned().collect();
        for version in &gone.versions {
            self.since.remove(version);
        }
        gone
    }
}

/// Counters with a handler among their labels, which can be dropped by it.
#[derive(Debug)]
pub(super) struct ByHandler<L: Eq + Hash> {
    pub(super) family: Family<L, Counter>,
    seen: Mutex<HashMap<String, HashSet<L>>>,
}

impl<L: Eq + Hash + Clone + EncodeLabelSet> ByHandler<L> {
    pub(super) fn new() -> Self {
        Self { family: Family::default(), seen: Mutex::default() }
    }

    pub(super) fn count(&self, handler: &str, labels: &L) {
        self.announce(handler, labels);
        self.family.get_or_create(labels).inc();
    }

    /// Shows them, from zero on if nothing was counted.
    pub(super) fn announce(&self, handler: &str, labels: &L) {
        if self.family.get(labels).is_none() {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.entry(handler.to_owned()).or_default().insert(labels.clone());
            drop(self.family.get_or_create(labels));
        }
    }

    pub(super) fn forget(&self, handler: &str) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        for labels in seen.remove(handler).into_iter().flatten() {
            self.family.remove(&labels);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(versions: &[(&str, &str)]) -> HashSet<VersionName> {
        versions.iter().map(|(handler, version)| ((*handler).to_owned(), (*version).to_owned())).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_version_goes_after_a_while_and_its_handler_with_the_last_of_them() {
        let mut retired = Retired::default();
        let all = names(&[("media", "a"), ("media", "b"), ("old", "c")]);
        let loaded = names(&[("media", "b")]);
        let start = Instant::now();
        assert_eq!(retired.look(all.clone(), &loaded, start), Gone::default());
        assert_eq!(retired.look(all.clone(), &loaded, start + SHOWN_FOR / 2), Gone::default());
        let mut gone = retired.look(all, &loaded, start + SHOWN_FOR);
        gone.versions.sort();
        assert_eq!(gone.versions, [("media".into(), "a".into()), ("old".into(), "c".into())]);
        assert_eq!(gone.handlers, ["old"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_version_that_comes_back_begins_anew() {
        let mut retired = Retired::default();
        let (one, none) = (names(&[("media", "a")]), HashSet::new());
        let start = Instant::now();
        let _ = retired.look(one.clone(), &none, start);
        let _ = retired.look(one.clone(), &one, start + SHOWN_FOR / 2);
        assert_eq!(retired.look(one, &none, start + SHOWN_FOR), Gone::default(), "it is gone since now only");
    }
}
