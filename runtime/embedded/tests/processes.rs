//! What happens to the store when processes die, meet, or run out of disk.
//!
//! Each case needs processes of its own, so this file has no test harness: run plainly it runs the cases one after the
//! other; run with `JOBCELL_TEST_CHILD` it is one of their children.
#![expect(clippy::unwrap_used, reason = "a test: what fails is the report")]

use std::collections::{HashMap, HashSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use jobcell_core::options::Keep;
use jobcell_core::store::{
    Added, ClaimRequest, Claimed, Finish, NewJob, Page, StallPolicy, Store, StoreError, Verdict,
};
use jobcell_core::{Clock, JobId, JobState, QueueName, SystemClock};
use jobcell_embedded::{EmbeddedError, EmbeddedOptions, EmbeddedStore};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

const ROLE: &str = "JOBCELL_TEST_CHILD";
const DIRECTORY: &str = "JOBCELL_TEST_DIRECTORY";

/// The longest any one wait may take.
const PATIENCE: Duration = Duration::from_secs(60);

type Case = fn(&tokio::runtime::Runtime);

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    if let Ok(role) = std::env::var(ROLE) {
        let directory = PathBuf::from(std::env::var(DIRECTORY).unwrap());
        match role.as_str() {
            "works" => runtime.block_on(works(&directory)),
            "holds" => holds(&directory),
            "fills" => runtime.block_on(fills(&directory, Space::FileSize)),
            "fills-disk" => runtime.block_on(fills(&directory, Space::Disk)),
            other => panic!("there is no child {other:?}"),
        }
        return ExitCode::SUCCESS;
    }
    let filter = std::env::args().nth(1).filter(|arg| !arg.starts_with('-')).unwrap_or_default();
    let cases: [(&str, Case); 4] = [
        ("a_killed_process_loses_nothing_it_was_told", a_killed_process_loses_nothing_it_was_told),
        ("a_second_process_is_told_who_has_the_store", a_second_process_is_told_who_has_the_store),
        ("a_file_that_cannot_grow_is_an_error_and_loses_nothing", a_file_that_cannot_grow),
        ("a_full_disk_is_an_error_and_loses_nothing", a_full_disk),
    ];
    for (name, case) in cases.into_iter().filter(|(name, _)| name.contains(&filter)) {
        print!("test {name} ... ");
        std::io::stdout().flush().unwrap();
        // A panic ends the process with its message and a failure.
        case(&runtime);
        println!("ok");
    }
    ExitCode::SUCCESS
}

// === helpers ===

/// A child process that is killed when the case ends, however it ends.
struct Running(Child);

impl Running {
    fn start(role: &str, directory: &Path) -> Self {
        let child = Command::new(std::env::current_exe().unwrap())
            .env(ROLE, role)
            .env(DIRECTORY, directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self(child)
    }

    fn lines(&mut self) -> std::io::Lines<BufReader<std::process::ChildStdout>> {
        BufReader::new(self.0.stdout.take().unwrap()).lines()
    }

    /// SIGKILL, and waits until it is gone.
    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// Waits for its end, and fails the case unless it succeeded.
    fn succeed(mut self) {
        let mut said = String::new();
        let begun = Instant::now();
        let status = loop {
            match self.0.try_wait().unwrap() {
                Some(status) => break status,
                None => assert!(begun.elapsed() < PATIENCE, "the child does not end"),
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        self.0.stdout.take().unwrap().read_to_string(&mut said).unwrap();
        assert!(status.success(), "{status}: {said}");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Gone already is fine.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn queue() -> QueueName {
    QueueName::new("mail").unwrap()
}

fn open(directory: &Path) -> EmbeddedStore {
    EmbeddedStore::open(directory, EmbeddedOptions::default()).unwrap()
}

fn request(max: usize, worker: &str, first: u64) -> ClaimRequest {
    ClaimRequest {
        max,
        token_prefix: worker.into(),
        token_first: first,
        lock: Duration::from_secs(30),
        worker_name: None,
        rate: None,
        now: SystemClock.now(),
    }
}

fn completed(claimed: &Claimed) -> Finish {
    let verdict = Verdict::Complete { result: "true".into(), keep: Keep::All };
    Finish::new(claimed.id.clone(), claimed.token.clone(), verdict)
}

async fn ids(store: &EmbeddedStore, state: JobState) -> HashSet<JobId> {
    let mut ids = HashSet::new();
    loop {
        let page = Page { offset: ids.len() as u64, limit: 1000 };
        let jobs = store.list(&queue(), state, page).await.unwrap();
        if jobs.is_empty() {
            return ids;
        }
        ids.extend(jobs.into_iter().map(|job| job.id));
    }
}

// === killed ===

/// The child: adds, claims and completes as fast as it can, and says what the store has confirmed.
async fn works(directory: &Path) {
    let store = open(directory);
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..3u64 {
        let producer = store.clone();
        tasks.spawn(async move {
            loop {
                let jobs = vec![NewJob::new("n", format!("\"{}\"", "x".repeat(500))); 3];
                for added in producer.add(&queue(), jobs, SystemClock.now()).await.unwrap() {
                    println!("added {}", added.id());
                }
            }
        });
        let worker = store.clone();
        tasks.spawn(async move {
            let mut token = 0;
            let mut finishes = Vec::new();
            loop {
                let request = request(4, &format!("{}-{task}", std::process::id()), token);
                token += 4;
                let ending: Vec<JobId> = finishes.iter().map(|finish: &Finish| finish.id.clone()).collect();
                let reply =
                    worker.finish(&queue(), finishes, Some(&request), SystemClock.now()).await.unwrap();
                for (id, finished) in ending.iter().zip(&reply.finished) {
                    assert_eq!(*finished, Ok(()));
                    println!("completed {id}");
                }
                for claimed in &reply.claim.jobs {
                    println!("claimed {}", claimed.id);
                }
                finishes = reply.claim.jobs.iter().map(completed).collect();
            }
        });
    }
    // None ends by itself: the first to end has panicked, and ends the process with it.
    tasks.join_next().await.unwrap().unwrap();
}

fn a_killed_process_loses_nothing_it_was_told(runtime: &tokio::runtime::Runtime) {
    let directory = tempfile::tempdir().unwrap();
    let mut told: HashMap<JobId, String> = HashMap::new();
    for round in 0..6 {
        let mut child = Running::start("works", directory.path());
        let mut lines = child.lines();
        let mut seen = 0;
        let note = |line: String, told: &mut HashMap<JobId, String>| {
            // The last line may be cut off by the kill.
            let Some((what, id)) = line.split_once(' ') else { return };
            let id = JobId::new(id).unwrap();
            // Tasks print beside each other: only a later step replaces an earlier one.
            let later = |told: &String| told == "completed" || (told == "claimed" && what == "added");
            if !told.get(&id).is_some_and(later) {
                told.insert(id, what.to_owned());
            }
        };
        // A different moment each time.
        while seen < 100 + round * 157 {
            note(lines.next().unwrap().unwrap(), &mut told);
            seen += 1;
        }
        child.kill();
        let rest: Vec<String> = lines.map_while(Result::ok).collect();
        let whole = rest.len().saturating_sub(1);
        for line in rest.into_iter().take(whole) {
            note(line, &mut told);
        }
        runtime.block_on(check_after_kill(directory.path(), &told));
    }
    runtime.block_on(finish_all(directory.path()));
}

/// Everything that was confirmed is there, and the store is consistent.
async fn check_after_kill(directory: &Path, told: &HashMap<JobId, String>) {
    let store = open(directory);
    let mut states: HashMap<JobId, JobState> = HashMap::new();
    let counts = store.counts(&queue()).await.unwrap();
    for state in JobState::ALL {
        let ids = ids(&store, state).await;
        assert_eq!(ids.len() as u64, counts.get(state), "{state}: the count and the list disagree");
        for id in ids {
            assert_eq!(states.insert(id.clone(), state), None, "job {id} is in two states");
        }
    }
    for (id, what) in told {
        let state = states.get(id).unwrap_or_else(|| panic!("job {id} was {what} and is gone"));
        let expected = match what.as_str() {
            "completed" => &[JobState::Completed][..],
            // The kill may have come between the commit and the line.
            "claimed" => &[JobState::Active, JobState::Completed],
            _ => &[JobState::Waiting, JobState::Active, JobState::Completed],
        };
        assert!(expected.contains(state), "job {id} was {what} and is {state}");
    }
    // What the dead process ran is recovered by the first round, without waiting for locks or intervals.
    let active = ids(&store, JobState::Active).await;
    let policy = StallPolicy { interval: Duration::from_secs(3600), max: 100 };
    let recovered = store.recover_stalled(&queue(), policy, SystemClock.now()).await.unwrap().jobs;
    assert_eq!(recovered.iter().cloned().collect::<HashSet<_>>(), active);
    assert_eq!(store.counts(&queue()).await.unwrap().get(JobState::Active), 0);
    for id in &recovered {
        let job = store.get(&queue(), id).await.unwrap().unwrap();
        assert!(job.stalled_count >= 1 && job.attempts_made == 0, "{job:?}");
    }
    let again = store.recover_stalled(&queue(), policy, SystemClock.now()).await.unwrap();
    assert!(again.jobs.is_empty(), "once is enough");
    // Claim what was recovered and leave it running for the next opening, but not with a lock that anybody has.
    let claim = store.claim(&queue(), &request(3, "left", 0)).await.unwrap();
    assert!(claim.jobs.iter().all(|claimed| claimed.job.is_ok()));
    store.close().await;
}

async fn finish_all(directory: &Path) {
    let store = open(directory);
    let policy = StallPolicy { interval: Duration::from_secs(3600), max: 100 };
    store.recover_stalled(&queue(), policy, SystemClock.now()).await.unwrap();
    let mut token = 0;
    let mut finishes = Vec::new();
    loop {
        let request = request(64, "last", token);
        token += 64;
        let reply = store.finish(&queue(), finishes, Some(&request), SystemClock.now()).await.unwrap();
        assert!(reply.finished.iter().all(Result::is_ok));
        finishes = reply.claim.jobs.iter().map(completed).collect();
        if finishes.is_empty() {
            break;
        }
    }
    let counts = store.counts(&queue()).await.unwrap();
    assert_eq!(counts.pending(), 0);
    assert_eq!(counts.0.values().sum::<u64>(), counts.get(JobState::Completed));
    store.close().await;
}

// === two at once ===

/// The child: has the store open until its input ends.
fn holds(directory: &Path) {
    let _store = open(directory);
    println!("open");
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

fn a_second_process_is_told_who_has_the_store(runtime: &tokio::runtime::Runtime) {
    let directory = tempfile::tempdir().unwrap();
    let mut child = Running::start("holds", directory.path());
    assert_eq!(child.lines().next().unwrap().unwrap(), "open");
    let refused = EmbeddedStore::open(directory.path(), EmbeddedOptions::default()).err().unwrap();
    match &refused {
        EmbeddedError::InUse { directory: named, pid } => {
            assert_eq!(named, directory.path());
            assert_eq!(*pid, Some(child.0.id()));
        }
        other => panic!("{other}"),
    }
    let message = refused.to_string();
    assert!(message.contains(&directory.path().display().to_string()), "{message}");
    assert!(message.contains(&format!("by process {}", child.0.id())), "{message}");
    child.kill();
    // The holder is dead: nothing has to be cleaned up by hand.
    let store = open(directory.path());
    runtime.block_on(store.close());
}

// === no space ===

/// What runs out.
#[derive(Clone, Copy)]
enum Space {
    /// The size that files of this process may have.
    FileSize,
    /// The file system, which the parent has made small.
    Disk,
}

impl Space {
    /// Takes away nearly all that is left.
    fn take(self, directory: &Path) {
        match self {
            Self::FileSize => {
                let size = std::fs::metadata(directory.join("jobs.redb")).unwrap().len();
                limit_file_size(Some(size + 256 * 1024));
            }
            Self::Disk => {
                // Grows until nothing is left, then gives a little back.
                let mut ballast = std::fs::File::create(directory.join("ballast")).unwrap();
                while ballast.write_all(&[1; 4096]).is_ok() {}
                let size = ballast.metadata().unwrap().len();
                ballast.set_len(size - 64 * 1024).unwrap();
            }
        }
    }

    fn give_back(self, directory: &Path) {
        match self {
            Self::FileSize => limit_file_size(None),
            Self::Disk => std::fs::remove_file(directory.join("ballast")).unwrap(),
        }
    }
}

fn limit_file_size(bytes: Option<u64>) {
    let Rlimit { maximum, .. } = getrlimit(Resource::Fsize);
    setrlimit(Resource::Fsize, Rlimit { current: bytes.or(maximum), maximum }).unwrap();
}

/// The child: adds until there is no space, sees that nothing is lost, gets space again and goes on, three times over.
async fn fills(directory: &Path, space: Space) {
    // Without a handler the first write over the limit would end the process (SIGXFSZ).
    let _handler = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::from_raw(25)).unwrap();
    let store = open(directory);
    let data = format!("\"{}\"", "x".repeat(8000));
    let mut added: Vec<JobId> = Vec::new();
    let mut completed_jobs = 0;
    for round in 0..3 {
        space.take(directory);
        let error = loop {
            assert!(added.len() < 100_000, "space never runs out");
            match store.add(&queue(), vec![NewJob::new("n", data.clone())], SystemClock.now()).await {
                Ok(ids) => added.extend(ids.iter().map(Added::id).cloned()),
                Err(error) => break error,
            }
        };
        let message = error.to_string();
        assert!(matches!(error, StoreError::Unavailable(_)) && error.is_transient(), "{error:?}");
        assert!(message.contains("jobs.redb") && message.contains("nothing stored is lost"), "{message}");
        // Still full: an error again, not a panic and not a hang. Pages that were freed inside the file may take a few.
        let mut refused = 0;
        for _ in 0..10 {
            let big = NewJob::new("n", format!("\"{}\"", "y".repeat(2_000_000)));
            match store.add(&queue(), vec![big], SystemClock.now()).await {
                Ok(ids) => added.extend(ids.iter().map(Added::id).cloned()),
                Err(error) => {
                    assert!(error.is_transient(), "{error:?}");
                    refused += 1;
                }
            }
        }
        assert!(refused >= 5, "20 MB cannot fit, and {refused} of 10 times 2 MB were refused");
        // What is stored can still be read.
        let counts = store.counts(&queue()).await.unwrap();
        assert_eq!(counts.get(JobState::Waiting) + completed_jobs, added.len() as u64);
        space.give_back(directory);

        // Space again: the same store works on, and has all that it confirmed.
        let more =
            store.add(&queue(), vec![NewJob::new("n", data.clone())], SystemClock.now()).await.unwrap();
        added.extend(more.iter().map(Added::id).cloned());
        for id in &added {
            assert!(store.get(&queue(), id).await.unwrap().is_some(), "job {id} was confirmed and is gone");
        }
        let counts = store.counts(&queue()).await.unwrap();
        assert_eq!(counts.get(JobState::Waiting) + counts.get(JobState::Completed), added.len() as u64);
        let claim = store.claim(&queue(), &request(5, "w", round * 5)).await.unwrap();
        assert_eq!(claim.jobs.len() as u64, counts.get(JobState::Waiting).min(5));
        completed_jobs += claim.jobs.len() as u64;
        let finishes = claim.jobs.iter().map(completed).collect();
        let reply = store.finish(&queue(), finishes, None, SystemClock.now()).await.unwrap();
        assert!(reply.finished.iter().all(Result::is_ok), "{:?}", reply.finished);
    }
    store.close().await;
    let store = open(directory);
    let counts = store.counts(&queue()).await.unwrap();
    assert_eq!(counts.get(JobState::Completed), completed_jobs);
    assert_eq!(counts.get(JobState::Waiting) + completed_jobs, added.len() as u64);
}

fn a_file_that_cannot_grow(_: &tokio::runtime::Runtime) {
    let directory = tempfile::tempdir().unwrap();
    Running::start("fills", directory.path()).succeed();
}

/// A small file system, unmounted at the end.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> Result<Self, String> {
        let directory = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=8m", "tmpfs"])
            .arg(directory.path())
            .output()
            .map_err(|e| e.to_string())?;
        if mounted.status.success() {
            Ok(Self(directory))
        } else {
            Err(String::from_utf8_lossy(&mounted.stderr).trim().to_owned())
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(self.0.path()).status();
        assert!(unmounted.is_ok_and(|status| status.success()), "{} stays mounted", self.0.path().display());
    }
}

fn a_full_disk(_: &tokio::runtime::Runtime) {
    match SmallDisk::mount() {
        Ok(disk) => Running::start("fills-disk", disk.0.path()).succeed(),
        // Mounting is for root alone. The case before this one has run the same steps against the other bound.
        Err(why) => print!("(no file system could be mounted: {why}; only the file size limit was tested) "),
    }
}
