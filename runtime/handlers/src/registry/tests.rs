use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use jobcell_core::attempt::AttemptIo;
use jobcell_core::{Attempt, JobId, Outcome, Receipt, Report};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::canary::CanaryRules;
use crate::loaded::Tally;
use crate::loader::Made;

/// Waits with each attempt until it is let go on.
struct Named {
    handler: String,
    version: String,
    gate: Arc<Semaphore>,
    alive: Arc<AtomicUsize>,
}

#[async_trait]
impl Runner for Named {
    fn handler(&self) -> &str {
        &self.handler
    }
    fn version(&self) -> &str {
        &self.version
    }
    fn deadline(&self) -> Duration {
        Duration::from_secs(1)
    }
    async fn run(&self, _: Attempt) -> Report {
        drop(self.gate.acquire().await);
        Report { outcome: Outcome::Complete(bytes::Bytes::new()), receipt: Receipt::default() }
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Makes versions that are counted.
#[derive(Default)]
struct Maker {
    alive: Arc<AtomicUsize>,
    gate: Option<Arc<Semaphore>>,
}

impl Maker {
    fn slot(&self, text: &str) -> Slot {
        self.alive.fetch_add(1, Ordering::SeqCst);
        let digest = Digest::of(text.as_bytes());
        let gate = self.gate.clone().unwrap_or_else(|| Arc::new(Semaphore::new(1)));
        let runner =
            Named { handler: "a".into(), version: digest.short(), gate, alive: Arc::clone(&self.alive) };
        Slot::plain(Loaded::new(
            Made::whole(Arc::new(runner)),
            digest,
            Arc::<Tally>::default(),
            5,
            Arc::default(),
        ))
    }

    fn active(&self, text: &str) -> Slots {
        Slots { active: Some(self.slot(text)), ..Slots::default() }
    }

    fn alive(&self) -> usize {
        self.alive.load(Ordering::SeqCst)
    }
}

fn queue() -> QueueName {
    QueueName::new("q").unwrap()
}

fn job(id: usize) -> Job {
    Job::new(JobId::new(id.to_string()).unwrap(), "x", "{}")
}

fn registry() -> Registry {
    Registry::new(HashMap::from([(queue(), Routes::all("a"))]))
}

fn attempt() -> Attempt {
    Attempt {
        queue: queue(),
        job: Arc::new(job(1)),
        deadline: Instant::now() + Duration::from_secs(9),
        deadline_at: 9_000,
        cancel: CancellationToken::new(),
        io: Arc::new(AttemptIo::default()),
    }
}

fn runner(registry: &Registry, job: &Job) -> Arc<dyn Runner> {
    match registry.route(&queue(), job) {
        Route::To(runner) => runner,
        Route::Nobody(text) => panic!("{text}"),
        Route::Later(_) => panic!("later"),
    }
}

fn digest(text: &str) -> Option<String> {
    Some(Digest::of(text.as_bytes()).to_string())
}

#[tokio::test]
async fn a_change_is_made_whole_or_not_at_all() {
    let (registry, maker) = (registry(), Maker::default());
    let routes = |to: &str| HashMap::from([(queue(), Routes::all(to))]);
    registry.serve("a", maker.active("one"));
    let nowhere = registry.change(HashMap::from([("a".into(), maker.active("two"))]), routes("c"));
    assert_eq!(nowhere.unwrap_err()[0].handler, "c");
    assert_eq!(runner(&registry, &job(1)).digest(), digest("one").as_deref(), "nothing was changed");
    assert_eq!(maker.alive(), 1, "what was not taken is gone");

    let changes = registry.change(HashMap::from([("a".into(), maker.active("two"))]), routes("a")).unwrap();
    let (from, to) = (changes[0].from.clone().unwrap(), changes[0].to.clone().unwrap());
    assert_eq!((from, to), (Digest::of(b"one").short(), Digest::of(b"two").short()));
    assert_eq!(runner(&registry, &job(1)).digest(), digest("two").as_deref());
    assert_eq!(registry.change(HashMap::new(), HashMap::new()).unwrap()[0].to, None);
    assert_eq!(maker.alive(), 0);
}

#[tokio::test]
async fn a_route_to_nowhere_is_reported_and_answered() {
    let registry = Registry::new(HashMap::from([(queue(), Routes::none().with("x", "a"))]));
    let gate = Arc::new(Semaphore::new(1));
    let named =
        Named { handler: "b".into(), version: "native".into(), gate, alive: Arc::new(AtomicUsize::new(1)) };
    registry.insert_native(Arc::new(named));
    assert_eq!(registry.dangling()[0].known, ["b"]);
    assert!(matches!(registry.route(&queue(), &job(1)), Route::Nobody(text) if text.contains("not loaded")));
    let other = Job::new(JobId::new("1").unwrap(), "y", "{}");
    assert!(matches!(registry.route(&queue(), &other), Route::Nobody(text) if text.contains("\"x\"")));
}

#[tokio::test]
async fn jobs_of_a_handler_without_a_version_wait() {
    let registry = registry();
    registry.serve("a", Slots::default());
    assert!(registry.dangling().is_empty());
    assert!(matches!(registry.route(&queue(), &job(1)), Route::Later(_)));
    assert_eq!(registry.list()[0].version, WAITING);
}

#[tokio::test]
async fn an_attempt_ends_on_its_version_which_then_is_gone() {
    let maker = Maker { gate: Some(Arc::new(Semaphore::new(0))), ..Maker::default() };
    let registry = registry();
    registry.serve("a", maker.active("one"));
    let running = runner(&registry, &job(1));
    let task = tokio::spawn(async move { running.run(attempt()).await });
    let one = Digest::of(b"one");
    while registry.slots("a").unwrap().find(one).unwrap().loaded.running() == 0 {
        tokio::task::yield_now().await;
    }
    registry.serve("a", maker.active("two"));
    assert_eq!(runner(&registry, &job(2)).digest(), digest("two").as_deref());
    assert_eq!(registry.draining("a"), [one]);
    let states: Vec<_> = registry.versions().into_iter().map(|v| v.state).collect();
    assert_eq!(states, ["active", "draining"]);
    assert_eq!(maker.alive(), 2);
    maker.gate.unwrap().add_permits(1);
    task.await.unwrap();
    assert_eq!(registry.draining("a"), []);
    assert_eq!(maker.alive.load(Ordering::SeqCst), 1, "nothing holds it any more");
    assert!(registry.still_there("a", one).is_none());
}

#[tokio::test]
async fn the_version_before_is_kept_and_drains_where_it_is() {
    let maker = Maker { gate: Some(Arc::new(Semaphore::new(0))), ..Maker::default() };
    let (registry, one) = (registry(), maker.slot("one"));
    registry.serve("a", Slots { active: Some(one.clone()), ..Slots::default() });
    let (running, digest) = (runner(&registry, &job(1)), Digest::of(b"one"));
    let task = tokio::spawn(async move { running.run(attempt()).await });
    while one.loaded.running() == 0 {
        tokio::task::yield_now().await;
    }
    registry.serve("a", Slots { previous: Some(one.clone()), ..maker.active("two") });
    assert_eq!(registry.draining("a"), [digest]);
    maker.gate.as_ref().unwrap().add_permits(1);
    task.await.unwrap();
    assert_eq!(registry.draining("a"), []);
    assert!(registry.slots("a").unwrap().find(digest).is_some(), "a rollback needs no loading");
}

#[tokio::test]
async fn a_canary_takes_the_same_jobs_every_time() {
    let (registry, maker) = (registry(), Maker::default());
    let canary = Canary {
        digest: Digest::of(b"two"),
        percent: 30,
        since: 0,
        by: "test".into(),
        rules: CanaryRules::default(),
        seed: 7,
    };
    registry.serve("a", Slots { canary: Some((canary, maker.slot("two"))), ..maker.active("one") });
    let picked = |id| runner(&registry, &job(id)).digest() == digest("two").as_deref();
    let first: Vec<bool> = (0..2000).map(picked).collect();
    let share = first.iter().filter(|picked| **picked).count();
    assert!((500..700).contains(&share), "{share} of 2000");
    assert_eq!((0..2000).map(picked).collect::<Vec<_>>(), first);
}

#[tokio::test]
async fn a_retry_runs_on_the_version_before_it_where_the_handler_says_so() {
    let (registry, maker) = (registry(), Maker::default());
    let mut retried = job(1);
    retried.pinned = digest("one");
    let slots = |same_version| Slots { same_version, ..maker.active("two") };
    registry.serve("a", slots(false));
    assert_eq!(runner(&registry, &retried).digest(), digest("two").as_deref());
    registry.serve("a", slots(true));
    assert!(matches!(registry.route(&queue(), &retried), Route::Later(_)), "it is not there yet");
    assert_eq!(registry.take_pins("other"), [""; 0]);
    assert_eq!(registry.take_pins("a"), [digest("one").unwrap()]);
    assert_eq!(registry.take_pins("a"), [""; 0], "asked for once");
    registry.serve("a", Slots { pinned: vec![maker.slot("one")], ..slots(true) });
    assert_eq!(runner(&registry, &retried).digest(), digest("one").as_deref());
    assert_eq!(runner(&registry, &job(2)).digest(), digest("two").as_deref());
    registry.serve("a", Slots { barred: BTreeSet::from([digest("one").unwrap()]), ..slots(true) });
    assert_eq!(runner(&registry, &retried).digest(), digest("two").as_deref(), "it cannot be had any more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_see_one_version_or_the_other_and_never_wait_while_it_changes() {
    let (registry, maker) = (Arc::new(registry()), Arc::new(Maker::default()));
    registry.serve("a", maker.active("0"));
    let done = Arc::new(AtomicBool::new(false));
    let (stop, reader) = (Arc::clone(&done), Arc::clone(&registry));
    let reading = tokio::task::spawn_blocking(move || {
        let (mut reads, job) = (0_u64, job(1));
        while !stop.load(Ordering::Relaxed) {
            runner(&reader, &job);
            reads += 1;
        }
        reads
    });
    let mut previous = None;
    for i in 1..2000 {
        let next = Slots { previous: previous.take(), ..maker.active(&i.to_string()) };
        previous.clone_from(&next.active);
        if i % 3 == 0 {
            let handlers = HashMap::from([("a".to_owned(), next)]);
            registry.change(handlers, HashMap::from([(queue(), Routes::all("a"))])).unwrap();
        } else {
            registry.serve("a", next);
        }
    }
    done.store(true, Ordering::Relaxed);
    assert!(reading.await.unwrap() > 0);
    drop(previous);
    assert_eq!(maker.alive(), 2, "the active one and the one before it: all others are gone");
    assert_eq!(registry.versions().len(), 2);
}
