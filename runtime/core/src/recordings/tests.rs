use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::attempt::Redact;
use crate::clock::SystemClock;
use crate::documents::MemoryDocuments;
use crate::effects::{Answer, Print, Request, Tape};
use crate::outcome::StopCause;
use crate::tap::Tap;

/// Asks as often as its payload says, and ends as its job's name says.
struct Ending;

#[async_trait]
impl Runner for Ending {
    fn handler(&self) -> &str {
        "ending"
    }
    fn version(&self) -> &str {
        "0123456789ab"
    }
    fn deadline(&self) -> Duration {
        Duration::from_secs(1)
    }
    fn plays(&self) -> bool {
        true
    }
    async fn run(&self, attempt: Attempt) -> Report {
        let Some(Tape::Record(recorder)) = attempt.io.take_tape() else { panic!("not recorded") };
        let text = std::str::from_utf8(&attempt.job.data).unwrap();
        let (times, size): (u32, usize) = serde_json::from_str(text).unwrap();
        for n in 0..times {
            let what = if n == 0 { "update-data".to_owned() } else { format!("get {n}") };
            let request = Request { kind: HostCall::Context, what, print: Print::default(), writes: n == 0 };
            if let Some(place) = recorder.asked(request) {
                recorder.told(place, Answer::Text("x".repeat(size)), 0);
            }
        }
        let outcome = match attempt.job.name.as_str() {
            "completes" => Outcome::Complete(Bytes::from_static(b"\"hunter2\"")),
            "traps" => Outcome::stopped(StopCause::Trap, "hunter2 at 0x10"),
            _ => Outcome::Retry { reason: "hunter2 is wrong".to_owned(), after: None },
        };
        Report { outcome, receipt: Receipt { cpu_us: 3, ..Receipt::default() } }
    }
}

struct Hide;

impl Redact for Hide {
    fn redact(&self, text: &str) -> Option<String> {
        text.contains("hunter2").then(|| text.replace("hunter2", "[secret]"))
    }
}

fn attempt(id: &str, name: &str, data: &'static str) -> Attempt {
    let io = AttemptIo::default();
    io.redact_with(Arc::new(Hide));
    let mut job = Job::new(JobId::new(id).unwrap(), name, data);
    (job.attempts_made, job.attempts_started) = (2, 3);
    Attempt {
        queue: QueueName::new("q").unwrap(),
        job: Arc::new(job),
        deadline: Instant::now() + Duration::from_secs(30),
        deadline_at: 17,
        cancel: CancellationToken::new(),
        io: Arc::new(io),
    }
}

fn kept(which: Record) -> (Recordings, Arc<dyn Runner>) {
    let recordings = Recordings::new(Arc::new(MemoryDocuments::default()));
    let runner =
        Tap::new(Arc::new(Ending), Arc::new(SystemClock), || [1; 32]).keep(which, &recordings).done();
    (recordings, runner)
}

async fn of(recordings: &Recordings, id: &str) -> Vec<Kept> {
    recordings.of(&QueueName::new("q").unwrap(), &JobId::new(id).unwrap()).await.unwrap()
}

#[tokio::test]
async fn an_attempt_that_made_no_cell_is_not_kept() {
    struct Given;

    #[async_trait]
    impl Runner for Given {
        fn handler(&self) -> &str {
            "given"
        }
        fn version(&self) -> &str {
            "0123456789ab"
        }
        fn deadline(&self) -> Duration {
            Duration::from_secs(1)
        }
        fn plays(&self) -> bool {
            true
        }
        async fn run(&self, _: Attempt) -> Report {
            Report { outcome: Outcome::Complete(Bytes::from_static(b"1")), receipt: Receipt::default() }
        }
    }

    let recordings = Recordings::new(Arc::new(MemoryDocuments::default()));
    let tap =
        Tap::new(Arc::new(Given), Arc::new(SystemClock), || [1; 32]).keep(Record::All, &recordings).done();
    tap.run(attempt("1", "completes", "[1,1]")).await;
    assert!(of(&recordings, "1").await.is_empty());
}

#[tokio::test]
async fn only_what_failed_is_kept_or_everything() {
    let (recordings, runner) = kept(Record::Failed);
    for name in ["completes", "retries", "traps"] {
        runner.run(attempt("1", name, "[2,1]")).await;
    }
    let names: Vec<_> = of(&recordings, "1").await.into_iter().map(|kept| kept.name).collect();
    assert_eq!(names, ["traps", "retries"]);
    let (recordings, runner) = kept(Record::All);
    runner.run(attempt("1", "completes", "[2,1]")).await;
    runner.run(attempt("2", "completes", "[2,1]")).await;
    assert_eq!((of(&recordings, "1").await.len(), of(&recordings, "3").await.len()), (1, 0));
    assert_eq!(recordings.dropped(), 0);
}

#[tokio::test]
async fn a_kept_attempt_says_what_it_was_given_and_has_no_secrets() {
    let (recordings, runner) = kept(Record::All);
    runner.run(attempt("1", "retries", "[2,1]")).await;
    let found = &of(&recordings, "1").await[0];
    assert_eq!((found.attempt, found.made, found.starts, found.deadline_at), (3, 2, 3, 17));
    assert_eq!((found.handler.as_str(), found.version.as_str()), ("ending", "0123456789ab"));
    assert_eq!((found.receipt.cpu_us, found.recording.effects.len()), (3, 2));
    assert_eq!(found.end.reason.as_deref(), Some("[secret] is wrong"));
    runner.run(attempt("2", "completes", "[2,1]")).await;
    let text = format!("{:?}", of(&recordings, "2").await);
    assert!(text.contains("[secret]") && !text.contains("hunter2"), "{text}");
}

#[tokio::test]
async fn the_job_is_as_the_attempt_had_it_or_it_is_said_that_it_is_not() {
    let (recordings, runner) = kept(Record::All);
    runner.run(attempt("1", "retries", "[1,1]")).await;
    runner.run(attempt("2", "retries", "[0,1]")).await;
    let mut now = Job::new(JobId::new("1").unwrap(), "renamed", "{\"since\":\"changed\"}");
    now.attempts_made = 9;
    let job = of(&recordings, "1").await[0].job(&now).unwrap();
    assert_eq!(
        (&job.data[..], job.name.as_str(), job.attempt()),
        (&b"[1,1]"[..], "retries", 3),
        "it replaced its payload"
    );
    let why = of(&recordings, "2").await[0].job(&now).unwrap_err();
    assert!(why.contains("payload"), "{why}");
    now.data = "[0,1]".into();
    assert_eq!(of(&recordings, "2").await[0].job(&now).unwrap().attempt(), 3);
}

#[tokio::test]
async fn what_is_kept_is_bounded() {
    let (recordings, runner) = kept(Record::All);
    runner.run(attempt("big", "retries", "[600,200]")).await;
    let log = Log::Recordings("q".to_owned());
    let entry = &recordings.documents.entries(&log, None, 1).await.unwrap()[0];
    assert!(entry.content.len() <= KEPT_BYTES_MAX, "{}", entry.content.len());
    assert!(of(&recordings, "big").await[0].recording.truncated);
    for n in 0..KEPT_MAX + 5 {
        runner.run(attempt(&n.to_string(), "retries", "[1,1]")).await;
    }
    assert_eq!(of(&recordings, "big").await, []);
    assert_eq!((of(&recordings, "4").await.len(), of(&recordings, "5").await.len()), (0, 1));
}

#[test]
fn two_ends_differ_in_what_a_handler_chose() {
    let io = AttemptIo::default();
    let end = |outcome: &Outcome| KeptEnd::of(outcome, &io);
    let complete = |text: &str| end(&Outcome::Complete(text.to_owned().into()));
    assert_eq!(complete("{\"a\":1}").difference(&complete("{ \"a\": 1 }")), None);
    assert_eq!(complete("{\"a\":1}").difference(&complete("{\"a\":2}")).unwrap(), "the result at /a");
    let long = |c: &str| complete(&c.repeat(RESULT_BYTES_MAX + 1));
    assert!(long("a").result.is_none() && long("a").difference(&long("a")).is_none());
    assert!(long("a").difference(&long("b")).is_some());
    let trap = |at: &str| end(&Outcome::stopped(StopCause::Trap, at));
    assert_eq!(trap("at 1").difference(&trap("at 2")), None);
    assert_eq!(complete("1").difference(&trap("")).unwrap(), "outcome: completed, and now stopped (trap)");
    let fatal = |why: &str| end(&Outcome::Fatal(why.to_owned()));
    assert!(fatal("a").difference(&fatal("b")).is_some());
    let text = serde_json::to_string(&trap("x")).unwrap();
    assert_eq!(serde_json::from_str::<KeptEnd>(&text).unwrap(), trap("x"));
}
