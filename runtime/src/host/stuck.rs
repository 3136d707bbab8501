//! Says in the log of queues whose jobs do not run why: their own host is where people look first.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

use jobcell_core::fleet::Fleet;
use jobcell_core::{JobState, QueueName, Store};
use jobcell_server::Explanation;
use tokio::time::{sleep, timeout};

use super::condition::Condition;
use crate::config::Config;
use crate::explain::{Depth, Scope, takes_deep_look};
use crate::stores::OpenStore;

/// The first look: hosts that start together have told each other of themselves by then.
const FIRST: Duration = Duration::from_secs(5);
/// Between two looks. A queue at which jobs wait and none runs is looked at more closely each time.
const EVERY: Duration = Duration::from_secs(30);
/// So many looks to one that looks further: for queues that nobody has, and for other prefixes and databases.
const FAR: u32 = 20;
/// How long one look may take. A store that is slow or away is told of elsewhere.
const LOOK_MAX: Duration = Duration::from_secs(20);

/// What holds queues up: by queue and in one word, a sentence each.
pub(super) type HeldUp = BTreeMap<(String, String), String>;

/// Looks again and again, until it is dropped. A reason is said once, and again when it comes back after it was gone.
pub(super) async fn tell(open: OpenStore, config: Config, condition: &Condition) -> Infallible {
    let fleet = Fleet::new(std::sync::Arc::clone(&open.documents));
    let mut known = HeldUp::new();
    sleep(FIRST).await;
    for look in (0..FAR).cycle() {
        let far = look == 0;
        let looked = async {
            let scope = Scope::open(&*open.store, &config, &open.prefix, &fleet).await;
            let mut queues: BTreeMap<QueueName, Depth> = BTreeMap::new();
            for queue in scope.configured() {
                if far || waits(&*open.store, queue).await {
                    queues.insert(queue.clone(), if far { Depth::Deep } else { Depth::Cheap });
                }
            }
            if far {
                let others = scope.others_that_wait().await.unwrap_or_default();
                queues.extend(others.into_iter().map(|queue| (queue, Depth::Cheap)));
            }
            let mut found = Vec::new();
            for (queue, depth) in queues {
                found.extend(scope.explain(&queue, depth).await);
            }
            found
        };
        if let Ok(found) = timeout(LOOK_MAX, looked).await {
            let now = held_up(&found, far, &known, &config);
            condition.set_held_up(now.clone());
            say(&found, &now, &known);
            known = now;
        }
        sleep(EVERY).await;
    }
    // `cycle` has no end.
    std::future::pending().await
}

/// Whether jobs wait and none runs.
async fn waits(store: &dyn Store, queue: &QueueName) -> bool {
    let counts = store.counts(queue).await;
    counts.is_ok_and(|counts| counts.pending() > 0 && counts.get(JobState::Active) == 0)
}

/// What holds queues up by this look, and what an earlier one found that this one did not look for.
fn held_up(found: &[Explanation], far: bool, before: &HeldUp, config: &Config) -> HeldUp {
    let not_looked_for = |(queue, code): &(String, String)| {
        !far && (takes_deep_look(code) || !config.queues.contains_key(queue))
    };
    let mut now: HeldUp = before.clone().into_iter().filter(|(key, _)| not_looked_for(key)).collect();
    for explanation in found {
        for reason in explanation.reasons.iter().filter(|reason| reason.wrong) {
            now.insert((explanation.queue.clone(), reason.code.clone()), reason.message.clone());
        }
    }
    now
}

/// Says what is new.
fn say(found: &[Explanation], now: &HeldUp, before: &HeldUp) {
    for ((queue, code), message) in now.iter().filter(|(key, _)| !before.contains_key(*key)) {
        let standing = found.iter().find(|one| one.queue == *queue).map(Explanation::standing);
        tracing::warn!(queue, reason = code, "{}: {message}", standing.unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use jobcell_server::Reason;

    use super::*;
    use crate::config::{FileChoice, Request, load};

    fn found(queue: &str, code: &str, wrong: bool) -> Explanation {
        let reason = Reason { code: code.to_owned(), wrong, message: format!("because {code}") };
        Explanation {
            queue: queue.to_owned(),
            waiting: 1,
            active: 0,
            hosts: Vec::new(),
            workers: None,
            reasons: vec![reason],
        }
    }

    #[test]
    fn what_a_look_did_not_look_for_still_holds() {
        let toml = "[queues.media]\nhandler = \"h\"\n[handlers.h]\nsource = \"h.wasm\"\n";
        let file = FileChoice::Text("jobcell.toml".into(), toml.to_owned());
        let config = load(&Request { file, ..Request::default() }).unwrap();
        let key = |queue: &str, code: &str| (queue.to_owned(), code.to_owned());
        let far = [
            found("media", "paused", true),
            found("media", "other-prefix", true),
            found("medai", "similar-name", true),
            found("media", "delayed", false),
        ];
        let first = held_up(&far, true, &HeldUp::new(), &config);
        let keys: Vec<_> = first.keys().cloned().collect();
        assert_eq!(
            keys,
            [key("medai", "similar-name"), key("media", "other-prefix"), key("media", "paused")]
        );
        // It was resumed; nobody has looked at prefixes and other queues again.
        let second = held_up(&[], false, &first, &config);
        let keys: Vec<_> = second.keys().cloned().collect();
        assert_eq!(keys, [key("medai", "similar-name"), key("media", "other-prefix")]);
        assert_eq!(held_up(&[], true, &second, &config), HeldUp::new());
    }
}
