use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::attempt::AttemptIo;
use crate::clock::SystemClock;
use crate::effects::{Answer, Print, Request, Tape};
use crate::names::JobId;
use crate::outcome::{Outcome, StopCause};
use crate::receipt::{HostCall, Receipt};
use crate::tap::Tap;

/// Asks for each letter of the payload: a capital is a change of something outside. Completes with what it was told.
struct Asking {
    version: &'static str,
    /// Replaces these letters before it asks.
    instead: Option<(char, char)>,
    /// Completes with this in place of what it was told.
    says: Option<&'static str>,
    plays: bool,
    cpu_us: u64,
    /// Its runs wait for a permit.
    gate: Option<Arc<Semaphore>>,
    runs: AtomicU64,
}

impl Asking {
    fn new(version: &'static str) -> Self {
        Self {
            version,
            instead: None,
            says: None,
            plays: true,
            cpu_us: 10,
            gate: None,
            runs: AtomicU64::new(0),
        }
    }
}

#[async_trait]
impl Runner for Asking {
    fn handler(&self) -> &str {
        "asking"
    }
    fn version(&self) -> &str {
        self.version
    }
    fn deadline(&self) -> Duration {
        Duration::from_secs(30)
    }
    fn plays(&self) -> bool {
        self.plays
    }
    async fn run(&self, attempt: Attempt) -> Report {
        self.runs.fetch_add(1, Ordering::SeqCst);
        let tape = attempt.io.take_tape();
        if let Some(Tape::Play(player)) = &tape {
            player.begin();
        }
        if let Some(gate) = &self.gate {
            gate.acquire().await.unwrap().forget();
        }
        let mut told = String::new();
        for asked in String::from_utf8(attempt.job.data.to_vec()).unwrap().chars() {
            let asked = self.instead.filter(|(from, _)| *from == asked).map_or(asked, |(_, to)| to);
            if asked == '-' {
                continue;
            }
            let mut print = [0; 16];
            print[0] = asked as u8;
            let writes = asked.is_uppercase();
            let request =
                Request { kind: HostCall::Cache, what: format!("ask {asked}"), print: Print(print), writes };
            match &tape {
                None => told.push(asked),
                Some(Tape::Record(recorder)) => {
                    told.push(asked);
                    if let Some(place) = recorder.asked(request) {
                        recorder.told(place, Answer::Text(asked.to_string()), 0);
                    }
                }
                Some(Tape::Play(player)) => match player.answer(&request) {
                    Ok(Answer::Text(text)) => told.push_str(&text),
                    _ => told.push('!'),
                },
            }
        }
        let receipt = Receipt { cpu_us: self.cpu_us, memory_peak_bytes: 100, ..Receipt::default() };
        let told = self.says.map_or_else(|| format!("{told:?}"), str::to_owned);
        let outcome = match told.as_str() {
            "cancelled" => Outcome::stopped(StopCause::Cancelled, ""),
            "given back" => Outcome::DelayUntil(1),
            _ => Outcome::Complete(Bytes::from(told)),
        };
        let stopped_by = matches!(outcome, Outcome::DelayUntil(_)).then_some(StopCause::Panic);
        let receipt = Receipt { stopped_by, ..receipt };
        Report { outcome, receipt }
    }
}

fn attempt(id: &str, data: &'static str) -> Attempt {
    Attempt {
        queue: QueueName::new("q").unwrap(),
        job: Arc::new(Job::new(JobId::new(id).unwrap(), "n", data)),
        deadline: Instant::now() + Duration::from_secs(30),
        deadline_at: 0,
        cancel: CancellationToken::new(),
        io: Arc::new(AttemptIo::default()),
    }
}

fn shadows(bounds: ShadowBounds) -> Shadows {
    Shadows::new(bounds, Arc::new(SystemClock), || ())
}

fn tap(active: Asking, shadow: Option<Shadow>) -> Arc<dyn Runner> {
    Tap::new(Arc::new(active), Arc::new(SystemClock), || [1; 32]).shadow(shadow).done()
}

async fn until(shadows: &Shadows, is_so: impl Fn(&ShadowReport) -> bool) -> ShadowReport {
    let waited = timeout(Duration::from_secs(20), async {
        loop {
            let report = shadows.report("asking").unwrap();
            if is_so(&report) {
                return report;
            }
            sleep(Duration::from_millis(2)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("{:?}", shadows.report("asking")))
}

async fn compared(candidate: Asking, data: &'static str) -> ShadowReport {
    let shadows = shadows(ShadowBounds::default());
    let shadow = shadows.of(Arc::new(candidate), 100, 7);
    assert!(shadow.is_some());
    let active = tap(Asking::new("active"), shadow);
    active.run(attempt("1", data)).await;
    until(&shadows, |report| report.runs + report.dropped > 0).await
}

#[tokio::test]
async fn who_does_the_same_agrees_and_the_costs_are_told() {
    let report = compared(Asking { cpu_us: 7, ..Asking::new("candidate") }, "abC").await;
    assert_eq!(
        (report.runs, report.agreed, report.disagreed, report.diverged, report.dropped),
        (1, 1, 0, 0, 0)
    );
    assert_eq!((report.candidate.as_str(), report.active.as_str()), ("candidate", "active"));
    assert_eq!((report.active_cost.cpu_us, report.candidate_cost.cpu_us), (10, 7));
    assert_eq!((report.percent, report.since, report.candidate_cost.memory_peak_bytes), (100, 7, 100));
    assert!(report.examples.is_empty());
}

#[tokio::test]
async fn who_answers_otherwise_or_leaves_something_out_disagrees() {
    let report = compared(Asking { says: Some("7"), ..Asking::new("candidate") }, "ab").await;
    assert_eq!((report.agreed, report.disagreed), (0, 1));
    let example = &report.examples[0];
    assert_eq!(
        (example.queue.as_str(), example.job.as_str(), example.what.as_str()),
        ("q", "1", "the result")
    );

    // Leaving out a look changes nothing outside.
    let same = Asking { instead: Some(('b', '-')), says: Some("\"abC\""), ..Asking::new("candidate") };
    assert_eq!(compared(same, "abC").await.agreed, 1);
    let lazy = Asking { instead: Some(('C', '-')), says: Some("\"abC\""), ..Asking::new("candidate") };
    let report = compared(lazy, "abC").await;
    assert_eq!(report.disagreed, 1);
    assert_eq!(report.examples[0].what, "left out: ask C (1 in all)");
}

#[tokio::test]
async fn who_asks_something_else_diverges() {
    let report = compared(Asking { instead: Some(('b', 'x')), ..Asking::new("candidate") }, "ab").await;
    assert_eq!((report.diverged, report.disagreed), (1, 0));
    let example = &report.examples[0];
    assert!(
        example.diverged && example.what.contains("ask x") && example.what.contains("did not ask"),
        "{example:?}"
    );

    let shadows = shadows(ShadowBounds { recording: 150, ..ShadowBounds::default() });
    let active = tap(Asking::new("active"), shadows.of(Arc::new(Asking::new("candidate")), 100, 0));
    active.run(attempt("1", "abcdefghijkl")).await;
    let report = until(&shadows, |report| report.runs > 0).await;
    assert_eq!(report.diverged, 1);
    assert!(report.examples[0].what.contains("recording truncated"), "{report:?}");
}

#[tokio::test]
async fn a_busy_host_drops_copies_and_live_attempts_do_not_wait() {
    let gate = Arc::new(Semaphore::new(0));
    let candidate = Arc::new(Asking { gate: Some(Arc::clone(&gate)), ..Asking::new("candidate") });
    let shadows = shadows(ShadowBounds { pending: 3, parallel: 1, ..ShadowBounds::default() });
    let active = tap(Asking::new("active"), shadows.of(Arc::clone(&candidate) as _, 100, 0));
    active.run(attempt("0", "a")).await;
    // One runs, and waits at the gate.
    let patience = timeout(Duration::from_secs(20), async {
        while candidate.runs.load(Ordering::SeqCst) == 0 {
            sleep(Duration::from_millis(1)).await;
        }
    });
    patience.await.unwrap();
    for id in 1..=20 {
        active.run(attempt(&id.to_string(), "a")).await;
    }
    let dropped = shadows.report("asking").unwrap().dropped;
    assert!((16..=17).contains(&dropped), "three wait, at most one more is on its way: {dropped}");
    gate.add_permits(100);
    let report = until(&shadows, |report| report.runs + report.dropped == 21).await;
    assert_eq!((report.agreed, report.dropped), (21 - dropped, dropped));
}

#[tokio::test]
async fn only_its_share_of_jobs_is_copied_and_it_is_the_same_share_each_time() {
    let shadows = shadows(ShadowBounds::default());
    let shadow = |percent| shadows.of(Arc::new(Asking::new("candidate")), percent, 0).unwrap();
    let queue = QueueName::new("q").unwrap();
    let taken = |shadow: &Shadow| {
        (0..10_000).filter(|n| shadow.takes(&queue, &attempt(&n.to_string(), "").job)).collect::<Vec<_>>()
    };
    let fifth = taken(&shadow(20));
    assert!((1800..2200).contains(&fifth.len()), "{}", fifth.len());
    assert_eq!(fifth, taken(&shadow(20)));
    assert!((taken(&shadow(0)).len(), taken(&shadow(100)).len()) == (0, 10_000));
}

#[tokio::test]
async fn counts_go_on_for_the_same_shadow_and_begin_anew_for_another() {
    let shadows = shadows(ShadowBounds::default());
    let of = |version, since| shadows.of(Arc::new(Asking::new(version)), 100, since);
    let first = of("candidate", 1);
    let active = tap(Asking::new("active"), first.clone());
    active.run(attempt("1", "a")).await;
    until(&shadows, |report| report.agreed == 1).await;
    let again = of("candidate", 1);
    assert_eq!(shadows.report("asking").unwrap().agreed, 1);
    let other = of("candidate", 2);
    assert_eq!(shadows.report("asking").unwrap().agreed, 0);
    drop((first, again, active));
    assert!(shadows.report("asking").is_some());
    drop(other);
    assert!(shadows.report("asking").is_none(), "nobody shadows any more");
}

#[tokio::test]
async fn what_could_reach_outside_is_no_candidate_and_what_nobody_wants_costs_nothing() {
    let shadows = shadows(ShadowBounds::default());
    assert!(shadows.of(Arc::new(Asking { plays: false, ..Asking::new("native") }), 100, 0).is_none());
    let plain: Arc<dyn Runner> = Arc::new(Asking::new("active"));
    let tapped = Tap::new(Arc::clone(&plain), Arc::new(SystemClock), || panic!("recorded")).done();
    assert!(Arc::ptr_eq(&plain, &tapped));
    // Nor for the jobs that are not in the share.
    let shadow = shadows.of(Arc::new(Asking::new("candidate")), 0, 0);
    let tapped = Tap::new(plain, Arc::new(SystemClock), || panic!("recorded")).shadow(shadow).done();
    tapped.run(attempt("1", "a")).await;
    assert_eq!(
        shadows.report("asking").unwrap(),
        ShadowReport { candidate: "candidate".into(), ..ShadowReport::default() }
    );
}

#[tokio::test]
async fn what_somebody_else_ended_is_not_compared() {
    let shadows = shadows(ShadowBounds::default());
    // What broke on the active version and was given back for another one to run has not ended as it ran.
    for says in ["cancelled", "given back"] {
        let active = Asking { says: Some(says), ..Asking::new("active") };
        let active = tap(active, shadows.of(Arc::new(Asking::new("candidate")), 100, 0));
        active.run(attempt("1", "a")).await;
    }
    assert!(shadows.state().copies.is_none(), "no thread was started for it");
}
