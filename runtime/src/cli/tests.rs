//! Whole commands, from their words to exit code and output, over a real store in a directory of their own.

mod administration;
mod handlers;

use std::ffi::OsString;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use clap::CommandFactory;
use jobcell_core::options::Keep;
use jobcell_core::store::{ClaimRequest, Finish, NewJob, Verdict};
use jobcell_core::{Clock, QueueName, Store, SystemClock};
use jobcell_embedded::{EmbeddedOptions, EmbeddedStore};
use serde_json::Value;
use tempfile::TempDir;

use super::*;

/// What a command did.
struct Ran {
    exit: Exit,
    out: String,
    err: String,
}

/// A place with a config and a store.
struct Place {
    directory: TempDir,
    environment: Environment,
    interactive: bool,
    stdin: String,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("jobcell.toml"), "[embedded]\npath = \"store\"\n").unwrap();
        Self { directory, environment: Environment::default(), interactive: false, stdin: String::new() }
    }

    fn configured(self, toml: &str) -> Self {
        let config = format!("[embedded]\npath = \"store\"\n{toml}");
        std::fs::write(self.directory.path().join("jobcell.toml"), config).unwrap();
        self
    }

    fn store(&self) -> EmbeddedStore {
        EmbeddedStore::open(self.directory.path().join("store"), EmbeddedOptions::default()).unwrap()
    }

    fn run(&self, words: &[&str]) -> Ran {
        let config = self.directory.path().join("jobcell.toml");
        let mut arguments: Vec<OsString> = vec!["jobcell".into(), "-c".into(), config.into()];
        arguments.extend(words.iter().map(OsString::from));
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let exit = self.execute(&arguments, &mut out, &mut err);
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Ran { exit, out: text(out), err: text(err) }
    }

    fn execute(&self, arguments: &[OsString], out: &mut dyn Write, err: &mut dyn Write) -> Exit {
        let mut console = Console {
            input: &mut self.stdin.as_bytes(),
            out,
            err,
            json: false,
            yes: false,
            interactive: self.interactive,
            is_answered: false,
        };
        execute(arguments, &self.environment, &mut console)
    }

    /// The one JSON value on stdout of a command with `--json`.
    #[track_caller]
    fn json(&self, words: &[&str]) -> (Exit, Value) {
        let ran = self.run(&[words, &["--json"]].concat());
        let lines: Vec<&str> = ran.out.lines().collect();
        assert_eq!(lines.len(), 1, "stdout: {}\nstderr: {}", ran.out, ran.err);
        (ran.exit, serde_json::from_str(lines[0]).unwrap())
    }
}

impl Ran {
    #[track_caller]
    fn is(&self, exit: Exit, parts: &[&str]) -> &Self {
        assert_eq!(self.exit, exit, "stdout: {}\nstderr: {}", self.out, self.err);
        for part in parts {
            assert!(
                self.out.contains(part) || self.err.contains(part),
                "{part:?} is not in {} {}",
                self.out,
                self.err
            );
        }
        self
    }
}

#[test]
fn the_definitions_are_sound_and_name_what_exists() {
    Cli::command().debug_assert();
    let names: Vec<String> = Cli::command().get_subcommands().map(|c| c.get_name().to_owned()).collect();
    let expected = [
        "run",
        "dev",
        "build",
        "check",
        "enqueue",
        "job",
        "flow",
        "queue",
        "schedule",
        "handler",
        "host",
        "stats",
        "top",
        "invoke",
        "replay",
        "doctor",
        "completions",
    ];
    assert_eq!(names, expected);
    fn explained(command: &clap::Command) {
        assert!(command.get_about().is_some(), "{}", command.get_name());
        for argument in command.get_arguments() {
            assert!(argument.get_help().is_some(), "{} {}", command.get_name(), argument.get_id());
        }
        command.get_subcommands().for_each(explained);
    }
    explained(&Cli::command());
}

#[test]
fn an_enqueued_job_is_found_again() {
    let place = Place::new();
    let ran =
        place.run(&["enqueue", "mail", "welcome", "--data", r#"{"to": "a@example.org"}"#, "--attempts", "3"]);
    ran.is(Exit::Done, &[]);
    let id = ran.out.trim().to_owned();
    let (exit, job) = place.json(&["job", "get", "mail", &id]);
    assert_eq!(exit, Exit::Done);
    assert_eq!((job["name"].as_str(), job["state"].as_str()), (Some("welcome"), Some("waiting")));
    assert_eq!(job["data"]["to"], "a@example.org");
    assert_eq!(job["opts"]["attempts"], 3);
    let shown = place.run(&["job", "get", "mail", &id]);
    shown.is(Exit::Done, &["state     waiting", r#"data      {"to": "a@example.org"}"#, "attempts  0 of 3"]);
    let listed = place.run(&["job", "list", "mail", "--state", "waiting,delayed"]);
    listed.is(Exit::Done, &["ID", "NAME", "welcome", "0/3"]);
    assert_eq!(place.json(&["job", "list", "mail"]).1.as_array().unwrap().len(), 1);
    assert_eq!(place.json(&["job", "logs", "mail", &id]).1, serde_json::json!([]));
}

#[test]
fn options_reach_the_job() {
    let place = Place::new();
    let words = [
        "enqueue",
        "q",
        "n",
        "--id",
        "order-7",
        "--delay",
        "1h",
        "--priority",
        "5",
        "--backoff",
        "exponential:2s",
        "--dedup",
        "order:60000",
        "--remove-on-complete=7d",
        "--remove-on-fail",
        "--tenant",
        "t1",
    ];
    assert_eq!(place.json(&words).1, serde_json::json!({ "id": "order-7", "queue": "q", "added": true }));
    let job = place.json(&["job", "get", "q", "order-7"]).1;
    assert_eq!((job["state"].as_str(), job["priority"].as_u64()), (Some("delayed"), Some(5)));
    assert_eq!(job["opts"]["backoff"], serde_json::json!({ "type": "exponential", "delay": 2000 }));
    assert_eq!(job["opts"]["removeOnComplete"], serde_json::json!({ "age": 604_800 }));
    assert_eq!(job["opts"]["removeOnFail"], true);
    assert_eq!(job["opts"]["tenant"], "t1");
    place.run(&["enqueue", "q", "n", "--wait"]).is(Exit::Usage, &["no queue is configured"]);
    place.run(&["enqueue", "q", "n", "--id", "order-7"]).is(Exit::Done, &["order-7", "nothing was added"]);
    place.run(&["job", "promote", "q", "order-7"]).is(Exit::Done, &["is due now"]);
    place.run(&["job", "promote", "q", "order-7"]).is(Exit::Failed, &["not delayed"]);
    place.run(&["job", "retry", "q", "order-7"]).is(Exit::Failed, &["order-7"]);
}

#[test]
fn bad_input_is_bad_usage_and_adds_nothing() {
    let place = Place::new();
    for (words, part) in [
        (&["enqueue", "q", "n", "--data", "{bad"][..], "the payload is not JSON"),
        (&["enqueue", "q", "n", "--data", "@/no/such"], "cannot be read"),
        (&["enqueue", "q:x", "n"], "has a ':'"),
        (&["enqueue", "q", "n", "--id", "7"], "cannot be chosen"),
        (&["enqueue", "q", ""], "name is empty"),
        (&["enqueue", "q", "n", "--backoff", "linear:1"], "fixed:MS or exponential:MS"),
        (&["enqueue", "q", "n", "--priority", "0"], "2097151"),
        (&["enqueue", "q", "n", "--delay", "-5"], "write milliseconds such as 5000"),
        (&["enqueue", "q", "n", "--attempts", "-5"], "invalid value '-5' for '--attempts <N>'"),
        (&["enqueue", "q"], "NAME"),
        (&["job", "list", "q", "--state", "paused"], "waiting-children"),
        (&["nonsense"], "unrecognized"),
    ] {
        let ran = place.run(words);
        ran.is(Exit::Usage, &[part]);
        assert!(!ran.err.contains("'-- "), "no advice that would do something else: {}", ran.err);
        let (exit, value) = place.json(words);
        assert_eq!(exit, Exit::Usage, "{words:?}");
        assert!(value["error"]["message"].as_str().unwrap().contains(part), "{value}");
        assert_eq!(value["error"]["exit"], 2);
    }
    assert_eq!(place.json(&["queue", "ls"]).1, serde_json::json!([]));
}

#[test]
fn queues_are_counted_paused_and_drained() {
    let place =
        Place::new().configured("[handlers.h]\nsource = \"h.wasm\"\n[queues.other]\nhandler = \"h\"\n");
    for _ in 0..3 {
        place.run(&["enqueue", "mail", "n"]).is(Exit::Done, &[]);
    }
    place.run(&["queue", "pause", "mail"]).is(Exit::Done, &["paused on every host"]);
    let queues = place.json(&["queue", "ls"]).1;
    assert_eq!(queues[0]["name"], "mail");
    assert_eq!((queues[0]["paused"].as_bool(), queues[0]["waiting"].as_u64()), (Some(true), Some(3)));
    assert_eq!((queues[1]["name"].as_str(), queues[1]["configured"].as_bool()), (Some("other"), Some(true)));
    place.run(&["queue", "counts", "mail"]).is(Exit::Done, &["WAITING-CHILDREN", "paused"]);
    place.run(&["queue", "resume", "--all"]).is(Exit::Done, &["queue mail goes on"]);
    place.run(&["queue", "counts", "mial"]).is(Exit::Done, &["did you mean \"mail\"?"]);
    let unknown = "nothing is known of a queue \"othr\"";
    place.run(&["queue", "counts", "othr"]).is(Exit::Done, &[unknown, "did you mean \"other\"?"]);
    place.run(&["queue", "pause", "othr"]).is(Exit::Done, &[unknown, "\"other\"?", "othr is paused"]);
    let known = place.run(&["queue", "pause", "other"]);
    known.is(Exit::Done, &["other is paused"]);
    assert_eq!(known.err, "", "a configured queue is known");
    place.run(&["queue", "pause"]).is(Exit::Usage, &["--all"]);
    place.run(&["queue", "drain", "mail"]).is(Exit::Usage, &["cannot be undone", "--yes"]);
    assert_eq!(place.json(&["queue", "counts", "mail"]).1[0]["waiting"], 3);
    assert_eq!(
        place.json(&["queue", "drain", "mail", "--yes"]).1,
        serde_json::json!({ "name": "mail", "removed": 3 })
    );
}

#[test]
fn what_cannot_be_undone_is_asked_only_on_a_terminal() {
    let mut place = Place::new();
    place.run(&["enqueue", "q", "n", "--id", "a"]).is(Exit::Done, &[]);
    place.stdin = "y\n".to_owned();
    place.run(&["job", "remove", "q", "a"]).is(Exit::Usage, &["--yes"]);
    place.interactive = true;
    place.stdin = "n\n".to_owned();
    place.run(&["job", "remove", "q", "a"]).is(Exit::Failed, &["[y/N]", "nothing was changed"]);
    place.stdin = String::new();
    place.run(&["job", "remove", "q", "a"]).is(Exit::Failed, &["nothing was changed"]);
    place.stdin = "y\n".to_owned();
    place.run(&["job", "remove", "q", "a"]).is(Exit::Done, &["is removed"]);
    // What is not there is not asked about.
    for yes in [&[][..], &["--yes"]] {
        place.run(&[&["job", "remove", "q", "a"], yes].concat()).is(Exit::Failed, &["does not exist"]);
        place.run(&[&["schedule", "rm", "q", "a"], yes].concat()).is(Exit::Failed, &["does not exist"]);
    }
}

#[test]
fn a_job_that_is_not_there_is_told_with_what_may_be_meant() {
    let place = Place::new();
    place.run(&["enqueue", "donations", "n"]).is(Exit::Done, &[]);
    place
        .run(&["job", "get", "donation", "1"])
        .is(Exit::Failed, &["\"1\" does not exist", "did you mean \"donations\"?"]);
    place
        .run(&["job", "logs", "donations", "99"])
        .is(Exit::Failed, &["\"99\" does not exist", "job list donations"]);
    let (exit, value) = place.json(&["job", "promote", "donations", "99"]);
    assert_eq!((exit, value["error"]["exit"].as_u64()), (Exit::Failed, Some(1)));
}

/// Plays the worker for one job.
async fn finish_one(store: Arc<EmbeddedStore>, queue: QueueName, verdict: Verdict) {
    let mut waiter = store.waiter(&queue, None).await.unwrap();
    let claimed = loop {
        let request = ClaimRequest {
            max: 1,
            token_prefix: "test".into(),
            token_first: 0,
            lock: Duration::from_secs(30),
            worker_name: None,
            rate: None,
            now: SystemClock.now(),
        };
        if let Some(claimed) = store.claim(&queue, &request).await.unwrap().jobs.into_iter().next() {
            break claimed;
        }
        waiter.wait(Duration::from_secs(1)).await.unwrap();
    };
    let finish = Finish::new(claimed.id, claimed.token, verdict);
    let reply = store.finish(&queue, vec![finish], None, SystemClock.now()).await.unwrap();
    assert_eq!(reply.finished, [Ok(())]);
}

async fn enqueue_and_wait(verdict: Option<Verdict>, words: &[&str]) -> Ran {
    let place = Place::new();
    let store = Arc::new(place.store());
    let queue = QueueName::new("q").unwrap();
    let worker = verdict.map(|verdict| tokio::spawn(finish_one(Arc::clone(&store), queue, verdict)));
    let words: Vec<&str> = [&["jobcell", "enqueue", "q", "n"], words].concat();
    let Cli { command: Command::Enqueue(args), global } = Cli::try_parse_from(words).unwrap() else {
        panic!("it is an enqueue")
    };
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut console = Console {
        input: &mut io::empty(),
        out: &mut out,
        err: &mut err,
        json: global.json,
        yes: false,
        interactive: false,
        is_answered: false,
    };
    let exit = enqueue::enqueue(&*store, "bull", *args, &mut console).await.unwrap();
    if let Some(worker) = worker {
        worker.await.unwrap();
    }
    Ran { exit, out: String::from_utf8(out).unwrap(), err: String::from_utf8(err).unwrap() }
}

fn completed(keep: Keep) -> Verdict {
    Verdict::Complete { result: r#"{"sent": true}"#.into(), keep }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_prints_the_result() {
    for keep in [Keep::All, Keep::None] {
        let ran = enqueue_and_wait(Some(completed(keep)), &["--wait=30"]).await;
        ran.is(Exit::Done, &["waits in queue q"]);
        assert_eq!(ran.out, "{\"sent\": true}\n");
    }
    let ran = enqueue_and_wait(Some(completed(Keep::All)), &["--wait=30", "--json"]).await;
    let value: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((value["state"].as_str(), &value["result"]["sent"]), (Some("completed"), &Value::Bool(true)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_for_a_job_that_fails_exits_with_its_reason() {
    let failed = || Verdict::Fail {
        reason: "the card was \u{1b}[31mrefused".to_owned(),
        stacktrace: Vec::new(),
        keep: Keep::All,
        attempts_max: 1,
    };
    let ran = enqueue_and_wait(Some(failed()), &["--wait=30"]).await;
    ran.is(Exit::Failed, &["failed: the card was \\u{1b}[31mrefused"]);
    assert_eq!(ran.out, "");
    let ran = enqueue_and_wait(Some(failed()), &["--wait=30", "--json"]).await;
    let value: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((ran.exit, value["state"].as_str()), (Exit::Failed, Some("failed")));
    assert!(value["reason"].as_str().unwrap().contains("refused"), "{value}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_has_an_end() {
    let ran = enqueue_and_wait(None, &["--wait=1"]).await;
    ran.is(Exit::Failed, &["had not ended after 1 s", "jobcell job get q"]);
}

#[test]
fn config_faults_are_bad_usage_for_every_command() {
    let place = Place::new().configured("[server]\nlissten = 1\n[queues.q]\nhandler = \"h\"\n");
    for words in [&["queue", "ls"][..], &["run"], &["enqueue", "q", "n"]] {
        place
            .run(words)
            .is(Exit::Usage, &["2 faults", "lissten", "did you mean \"listen\"?", "[handlers] is empty"]);
    }
    let checked = place.run(&["check"]);
    checked.is(Exit::Usage, &["FAULT    config: ", "lissten", "store: embedded"]);
    let (exit, value) = place.json(&["check"]);
    assert_eq!((exit, value["ok"].as_bool()), (Exit::Usage, Some(false)));
}

#[test]
fn the_doctor_tells_about_this_machine() {
    let place = Place::new();
    place
        .run(&["doctor"])
        .is(Exit::Done, &["wasmtime", "cores", "ok       store: embedded", "at the first run"]);
    place.run(&["check"]).is(Exit::Done, &["at the first run"]);
    let left: Vec<_> = std::fs::read_dir(place.directory.path()).unwrap().flatten().collect();
    assert_eq!(left.len(), 1, "to look leaves nothing behind: {left:?}");
    drop(place.store());
    place.run(&["check"]).is(Exit::Done, &["ok       store: embedded", "answers in"]);
    let (exit, value) = place.json(&["doctor"]);
    assert_eq!((exit, value["ok"].as_bool()), (Exit::Done, Some(true)));
    assert!(value["environment"]["engine"]["cells"].as_u64().is_some_and(|cells| cells > 0), "{value}");
}

#[test]
fn a_store_that_cannot_be_made_is_a_fault_of_check() {
    let place = Place::new();
    std::fs::write(place.directory.path().join("file"), "").unwrap();
    let config = "[embedded]\npath = \"file/store\"\n";
    std::fs::write(place.directory.path().join("jobcell.toml"), config).unwrap();
    place.run(&["check"]).is(Exit::StoreUnreachable, &["FAULT    store", "cannot create"]);
}

#[test]
fn running_without_queues_says_what_to_write() {
    Place::new().run(&["run"]).is(Exit::Usage, &["no queue is configured", "[queues.emails]"]);
    let place = Place::new().configured("[handlers.h]\nsource = \"h.wasm\"\n[queues.q]\nhandler = \"h\"\n");
    place.run(&["run", "--queue", "p"]).is(Exit::Usage, &["queues.p", "did you mean \"q\"?"]);
}

#[test]
fn a_store_that_cannot_be_reached_has_its_own_exit_code() {
    // Nothing listens on port 1.
    let place = Place::new();
    place
        .run(&["queue", "ls", "--redis", "redis://:secret@127.0.0.1:1"])
        .is(Exit::StoreUnreachable, &["127.0.0.1:1"]);
    let shown = place.run(&["queue", "ls", "--redis", "redis://:secret@127.0.0.1:1"]);
    assert!(!shown.err.contains("secret"), "{}", shown.err);
    let busy = place.store();
    place.run(&["queue", "ls"]).is(Exit::StoreUnreachable, &["store"]);
    drop(busy);
}

#[test]
fn what_is_no_component_is_refused() {
    let place = Place::new();
    let file = place.directory.path().join("h.wasm");
    std::fs::write(&file, "not wasm").unwrap();
    let file = file.to_str().unwrap().to_owned();
    place.run(&["handler", "inspect", &file]).is(Exit::Refused, &["h.wasm"]);
    place.run(&["handler", "inspect", "/no/such.wasm"]).is(Exit::Usage, &["cannot be read"]);
    place.run(&["invoke", &file, "--name", "n"]).is(Exit::Refused, &["refused"]);
    for missing in ["./no/such.wasm", "such.wasm"] {
        let ran = place.run(&["invoke", missing, "--name", "n"]);
        ran.is(Exit::Usage, &[missing, "cannot be read", "correct the path"]);
        assert!(!ran.err.contains("[handlers"), "it is no configured handler: {}", ran.err);
    }
    place.run(&["invoke", "unknown", "--name", "n"]).is(Exit::Usage, &["\"unknown\" is not configured"]);
    place.run(&["invoke", &file]).is(Exit::Usage, &["--job"]);
    let place = place.configured("[handlers.h]\nsource = \"h.wasm\"\n");
    place.run(&["check"]).is(Exit::Refused, &["FAULT", "handler h"]);
}

/// Output that nobody reads any more.
struct Closed;

impl Write for Closed {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_reader_that_leaves_is_success() {
    let place = Place::new();
    for words in [&["jobcell", "--help"][..], &["jobcell", "completions", "bash"]] {
        let arguments: Vec<OsString> = words.iter().map(OsString::from).collect();
        assert_eq!(place.execute(&arguments, &mut Closed, &mut io::sink()), Exit::Done, "{words:?}");
    }
}

#[test]
fn help_and_completions_are_answers() {
    let place = Place::new();
    place.run(&["--help"]).is(Exit::Done, &["Usage: jobcell", "69 store unreachable", "enqueue"]);
    place.run(&["--version"]).is(Exit::Done, &[env!("CARGO_PKG_VERSION")]);
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        place.run(&["completions", shell]).is(Exit::Done, &["enqueue"]);
    }
    assert_eq!(place.json(&["completions", "bash"]).1["shell"], "bash");
}

#[test]
fn lists_are_read_by_the_page() {
    let place = Place::new();
    let store = place.store();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let queue = QueueName::new("q").unwrap();
    let jobs = (0..30).map(|_| NewJob::new("n", "{}")).collect();
    runtime.block_on(async {
        let added = store.add(&queue, jobs, SystemClock.now()).await.unwrap();
        let lines: Vec<String> = (0..2500).map(|n| format!("line {n}\u{7}")).collect();
        store.append_logs(&queue, added[0].id(), &lines, None).await.unwrap();
        store.close().await;
    });
    drop(store);
    assert_eq!(
        place.json(&["job", "list", "q", "--limit", "5", "--offset", "27"]).1.as_array().unwrap().len(),
        3
    );
    let id = place.json(&["job", "list", "q", "--limit", "1"]).1[0]["id"].as_str().unwrap().to_owned();
    assert_eq!(place.json(&["job", "logs", "q", &id]).1.as_array().unwrap().len(), 2500);
    let shown = place.run(&["job", "logs", "q", &id]);
    assert!(shown.out.ends_with("line 2499\\u{7}\n"), "{:?}", &shown.out[shown.out.len() - 20..]);
}

#[test]
fn schedulers_are_set_listed_and_removed() {
    let place = Place::new();
    let ran =
        place.run(&["schedule", "set", "mail", "nightly", "--cron", "0 3 * * *", "--tz", "Europe/Berlin"]);
    ran.is(Exit::Done, &["scheduler nightly of queue mail: its next job runs at", ", in "]);
    let (_, set) = place.json(&[
        "schedule",
        "set",
        "mail",
        "often",
        "--every",
        "90s",
        "--name",
        "poll",
        "--data",
        r#"{"a":[]}"#,
        "--limit",
        "5",
        "--attempts",
        "3",
        "--end",
        "2100-01-01",
        "--priority",
        "2",
    ]);
    assert_eq!((&set["id"], &set["queue"]), (&"often".into(), &"mail".into()), "{set}");
    assert!(set["job"].as_str().is_some_and(|job| job == format!("repeat:often:{}", set["next"])), "{set}");

    let ran = place.run(&["schedule", "ls", "mail"]);
    ran.is(Exit::Done, &["every 1m 30s", "0 3 * * *", "Europe/Berlin", "1 of 5", "poll", "now"]);
    let lines: Vec<&str> = ran.out.lines().collect();
    assert!(lines[1].starts_with("often") && lines[2].starts_with("nightly"), "{}", ran.out);
    let (_, one) = place.json(&["schedule", "ls", "mail", "often"]);
    assert_eq!(
        (&one["every"], &one["limit"], &one["iterationCount"]),
        (&90_000.into(), &5.into(), &1.into())
    );
    assert_eq!((&one["data"], &one["opts"]["attempts"]), (&serde_json::json!({"a": []}), &3.into()), "{one}");
    assert_eq!((&one["endDate"], &one["next"]), (&4_102_444_800_000_u64.into(), &set["next"]));
    let (_, all) = place.json(&["schedule", "ls", "mail"]);
    assert_eq!((&all[1]["pattern"], &all[1]["tz"]), (&"0 3 * * *".into(), &"Europe/Berlin".into()), "{all}");

    // Its pending job belongs to it.
    let job = set["job"].as_str().unwrap();
    place
        .run(&["--yes", "job", "remove", "mail", job])
        .is(Exit::Failed, &["belongs to scheduler \"often\"", "jobcell schedule rm mail often"]);
    place.run(&["schedule", "rm", "mail", "often"]).is(Exit::Usage, &["--yes"]);
    place.run(&["--yes", "schedule", "rm", "mail", "often"]).is(Exit::Done, &["is removed"]);
    place
        .run(&["--yes", "schedule", "rm", "mail", "often"])
        .is(Exit::Failed, &["does not exist", "schedule ls mail"]);
    place.run(&["schedule", "ls", "mail", "often"]).is(Exit::Failed, &["\"often\" does not exist"]);
    place.run(&["schedule", "ls", "nowhere"]).is(Exit::Done, &["no queue \"nowhere\""]);
}

#[test]
fn a_schedule_that_makes_no_sense_is_bad_usage() {
    let place = Place::new();
    for (rule, said) in [
        (&["--cron", "61 * * * *"][..], "61 is out of range; use 0 to 59"),
        (&["--cron", "* * * *"], "4 fields"),
        (&["--cron", "0 0 30 2 *"], "never comes"),
        (&["--cron", "* * * * *", "--tz", "Mars/Olympus"], "Mars/Olympus"),
        (&["--every", "0"], "at least 1"),
        (&["--every", "1m", "--end", "2001-01-01"], "the end 2001-01-01T00:00:00Z has passed"),
        (&["--every", "1m", "--start", "soon"], "2030-01-31T09:00:00Z"),
        (&["--every", "1m", "--tz", "UTC"], "cannot be used with"),
        (&["--cron", "* * * * *", "--offset", "5"], "cannot be used with"),
        (&["--every", "1m", "--cron", "* * * * *"], "cannot be used with"),
        (&["--every", "1m", "--data", "{"], "not JSON"),
        (&["--every", "1m", "--name", ""], "name is empty"),
        (&[], "--every"),
    ] {
        place.run(&[&["schedule", "set", "mail", "s"], rule].concat()).is(Exit::Usage, &[said]);
    }
    place.run(&["schedule", "set", "mail", "a:b", "--every", "1m"]).is(Exit::Usage, &["':'"]);
    place
        .run(&["schedule", "set", "mail", "", "--every", "1m"])
        .is(Exit::Usage, &["scheduler's id is empty"]);
    place.run(&["schedule", "ls", "mail"]).is(Exit::Done, &[]);
}

#[test]
fn a_flow_that_makes_no_sense_is_bad_usage_and_names_the_job() {
    let place = Place::new();
    let deduplicated = r#"{"name":"a","queueName":"q","opts":{"deduplication":{"id":"d"}},"children":[{"name":"b","queueName":"q"}]}"#;
    let contradicting = r#"{"name":"a","queueName":"q","children":[{"name":"b","queueName":"q",
        "opts":{"failParentOnFailure":true,"ignoreDependencyOnFailure":true}}]}"#;
    let with_parent = r#"{"name":"a","queueName":"q","children":[{"name":"b","queueName":"q",
        "opts":{"parent":{"id":"1","queue":"bull:q"}}}]}"#;
    for (tree, said) in [
        ("{", "the argument is not a flow: it is not JSON"),
        (r#"{"name":"a"}"#, "job \"a\" (at the top) has no queueName"),
        (deduplicated, "job \"a\" of the flow in queue \"q\" has children and a deduplication id"),
        (contradicting, "job \"b\": failParentOnFailure, ignoreDependencyOnFailure cannot be used together"),
        (with_parent, "job \"b\" of the flow in queue \"q\" names a parent"),
    ] {
        place.run(&["flow", "add", tree]).is(Exit::Usage, &[said]);
    }
    // What is in the way in the store is no bad usage.
    let orphan = r#"{"name":"a","queueName":"q","opts":{"parent":{"id":"1","queue":"bull:q"}}}"#;
    place.run(&["flow", "add", orphan]).is(Exit::Failed, &["does not exist"]);
    assert_eq!(place.json(&["queue", "ls"]).1, serde_json::json!([]));
}
