//! A cached value is computed by one, and everybody else waits for it: on a clock that the tests set, where waiting takes
//! no time.

use std::cell::Cell;
use std::time::Duration;

use jobcell_sdk::cache::{self, Once};
use jobcell_sdk::testing::{self, Host};
use jobcell_sdk::{Failure, HostError, Job, kv, time};
use serde::{Deserialize, Serialize};

const NOW_MS: u64 = 1_700_000_000_000;
const TTL: Duration = Duration::from_secs(600);

/// Runs `ask` as a job with 30 s until its deadline.
fn within<R>(host: &Host, ask: impl FnOnce() -> R) -> R {
    host.run(|_: Job<()>| Ok(ask()), testing::job(())).expect("nothing in it fails")
}

/// Counts how often it is asked to compute.
#[derive(Default)]
struct Counted(Cell<u32>);

impl Counted {
    fn feed(&self) -> Result<String, HostError> {
        self.0.set(self.0.get() + 1);
        Ok(format!("feed {}", self.0.get()))
    }
}

#[test]
fn a_value_is_computed_once_and_kept_for_its_ttl() {
    let (host, counted) = (Host::new().cache().at(NOW_MS), Counted::default());
    let get = || within(&host, || cache::get_or_set("feed", TTL, || counted.feed()));
    for _ in 0..3 {
        assert_eq!(get(), Ok(b"feed 1".to_vec()));
    }
    assert_eq!(host.cached("lock:feed"), None, "the lock is let go of");
    host.advance(TTL);
    assert_eq!((get(), counted.0.get()), (Ok(b"feed 2".to_vec()), 2));
}

#[test]
fn an_error_is_answered_and_the_next_one_computes() {
    let host = Host::new().cache().at(NOW_MS);
    let failed: Result<Vec<u8>, Failure> =
        within(&host, || cache::get_or_set("feed", TTL, || Err::<String, _>(Failure::retry("no database"))));
    assert_eq!(failed, Err(Failure::retry("no database")));
    assert_eq!((host.cached("feed"), host.cached("lock:feed")), (None, None));
    let computed = within(&host, || cache::get_or_set("feed", TTL, || Counted::default().feed()));
    assert_eq!(computed, Ok(b"feed 1".to_vec()));
}

#[test]
fn whoever_waits_takes_the_value_of_the_one_who_computes() {
    let host = Host::new().at(NOW_MS).cached_value("lock:feed", "another").cached_after(
        Duration::from_secs(5),
        "feed",
        "theirs",
    );
    let (value, waited) = within(&host, || {
        let value =
            cache::get_or_set("feed", TTL, || -> Result<String, HostError> { panic!("computed twice") });
        (value, time::now_ms() - NOW_MS)
    });
    assert_eq!(value, Ok(b"theirs".to_vec()));
    assert!((5_000..5_300).contains(&waited), "{waited} ms");
    assert_eq!(host.cached("lock:feed").as_deref(), Some(&b"another"[..]), "the lock is another's");
}

#[test]
fn nobody_waits_past_the_deadline() {
    let host = Host::new().at(NOW_MS).cached_value("lock:feed", "another");
    let ask = |once: Once<'static>| {
        let began = host.within(time::now_ms);
        let value =
            within(&host, || once.bytes(|| -> Result<String, HostError> { panic!("computed twice") }));
        (value, host.within(time::now_ms) - began)
    };
    let (value, waited) = ask(Once::new("feed"));
    assert!(matches!(&value, Err(HostError::Unavailable(why)) if why.contains("27000 ms")), "{value:?}");
    assert_eq!(waited, 27_000, "nine tenths of 30 s");
    let (value, waited) = ask(Once::new("feed").wait(Duration::from_secs(1)));
    assert!(matches!(value, Err(HostError::Unavailable(_))) && waited == 1_000, "{waited}");
}

#[test]
fn the_lock_of_one_who_died_ends_and_another_takes_over() {
    let (host, counted) = (Host::new().cache().at(NOW_MS), Counted::default());
    // It took the lock for 4 s and was killed.
    host.within(|| cache::set_if_absent("lock:feed", "dead", Some(Duration::from_secs(4)))).unwrap();
    let value = within(&host, || cache::get_or_set("feed", TTL, || counted.feed()));
    assert_eq!((value, counted.0.get()), (Ok(b"feed 1".to_vec()), 1));
    let waited = host.within(time::now_ms) - NOW_MS;
    assert!((4_000..4_300).contains(&waited), "{waited} ms");
}

#[test]
fn a_lock_lasts_no_longer_than_its_lease_and_never_past_the_deadline() {
    for (lease, lasts_ms) in [(None, 30_000), (Some(2), 2_000), (Some(3600), 30_000)] {
        let host = Host::new().cache().at(NOW_MS);
        let once = Once::new("feed");
        let once = lease.map_or(once.clone(), |seconds| once.lease(Duration::from_secs(seconds)));
        let computed = within(&host, || {
            once.bytes(|| {
                time::sleep(Duration::from_millis(lasts_ms - 1));
                assert!(cache::get("lock:feed")?.is_some());
                time::sleep(Duration::from_millis(1));
                assert_eq!(cache::get("lock:feed"), Ok(None));
                // Somebody else took over meanwhile, and keeps the lock.
                cache::set("lock:feed", "another", None)?;
                Ok::<_, HostError>("late")
            })
        });
        assert_eq!(computed, Ok(b"late".to_vec()));
        assert_eq!(host.cached("lock:feed").as_deref(), Some(&b"another"[..]));
    }
}

#[test]
fn an_old_value_is_answered_while_one_renews_it() {
    let (host, counted) = (Host::new().cache().at(NOW_MS), Counted::default());
    let once = || Once::new("feed").ttl(TTL).stale_for(Duration::from_secs(60));
    let get = || within(&host, || once().bytes(|| counted.feed()));
    assert_eq!(get(), Ok(b"feed 1".to_vec()));
    host.advance(TTL);
    // While this one renews, another cell asks.
    let renewed = within(&host, || {
        once().bytes(|| {
            let meanwhile = once().bytes(|| -> Result<String, HostError> { panic!("computed twice") });
            assert_eq!(meanwhile, Ok(b"feed 1".to_vec()));
            counted.feed()
        })
    });
    assert_eq!((renewed, get()), (Ok(b"feed 2".to_vec()), Ok(b"feed 2".to_vec())));
    // It cannot be renewed: the old one is answered, until it is too old.
    let fail = || within(&host, || once().bytes(|| Err::<String, _>(HostError::Unavailable("down".into()))));
    host.advance(TTL);
    assert_eq!(fail(), Ok(b"feed 2".to_vec()));
    assert!(host.logs().iter().any(|line| line.contains("could not be renewed")), "{:?}", host.logs());
    host.advance(Duration::from_secs(60));
    assert_eq!(fail(), Err(HostError::Unavailable("down".into())));
}

#[test]
fn json_of_another_shape_counts_as_none() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Feed {
        posts: Vec<u32>,
    }
    let host = Host::new().at(NOW_MS).cached_value("feed", r#"{"items":[1]}"#);
    let make = || Ok::<_, HostError>(Feed { posts: vec![7] });
    let feed = within(&host, || cache::get_or_set_json("feed", TTL, make));
    assert_eq!(feed, Ok(Feed { posts: vec![7] }));
    assert_eq!(host.within(|| cache::get_json("feed")), Ok(Some(Feed { posts: vec![7] })));
    host.within(|| cache::set_json("feed", &[1, 2], None)).unwrap();
    let wrong = host.within(|| cache::get_json::<Feed>("feed"));
    assert!(matches!(&wrong, Err(HostError::Other(why)) if why.contains("`feed`")), "{wrong:?}");
    assert_eq!(host.within(|| cache::get_json::<Feed>("none")), Ok(None));
}

#[test]
fn a_bucket_keeps_the_value_where_others_read_it() {
    let (host, counted) = (Host::new().cache().bucket("feeds").at(NOW_MS), Counted::default());
    let get = || {
        within(&host, || {
            let feeds = kv::open("feeds")?;
            Once::new("user:7:abc").bucket(&feeds).bytes(|| counted.feed())
        })
    };
    assert_eq!((get(), get()), (Ok(b"feed 1".to_vec()), Ok(b"feed 1".to_vec())));
    assert_eq!(host.kept("feeds", "user:7:abc").as_deref(), Some(&b"feed 1"[..]));
    assert_eq!((host.cached("user:7:abc"), host.cached("lock@feeds:user:7:abc")), (None, None));
    // The web server forgot it.
    host.within(|| kv::open("feeds")?.delete("user:7:abc")).unwrap();
    assert_eq!(get(), Ok(b"feed 2".to_vec()));
}

#[test]
fn without_the_cache_there_is_no_lock_and_the_refusal_says_so() {
    let host = Host::new().bucket("feeds");
    let refused = within(&host, || {
        let feeds = kv::open("feeds")?;
        Once::new("k").bucket(&feeds).bytes(|| Ok::<_, HostError>("v"))
    });
    assert!(matches!(&refused, Err(HostError::Denied(why)) if why.contains("cache = true")), "{refused:?}");
}

#[test]
fn a_bucket_that_may_only_be_read_refuses_what_changes_it() {
    let host = Host::new().kept_value("sessions", "sess:1", "{}").read_only("sessions");
    host.within(|| {
        let sessions = kv::open("sessions").unwrap();
        assert_eq!(sessions.get("sess:1"), Ok(Some(b"{}".to_vec())));
        let refusals =
            [sessions.set("k", "v"), sessions.delete("sess:1"), sessions.increment("n", 1).map(drop)];
        for refusal in refusals {
            assert!(
                matches!(&refusal, Err(HostError::Denied(why)) if why.contains("read-write")),
                "{refusal:?}"
            );
        }
        assert!(sessions.watch("sess:1").unwrap().swap("x").is_err());
    });
    assert_eq!(host.kept("sessions", "sess:1").as_deref(), Some(&b"{}"[..]));
}
