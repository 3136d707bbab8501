//! What the cases of this suite run on: for each client one server, one host and one agent, which all cases of a file
//! share. Every case has a queue of its own, named after it, so they run side by side.

use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use jobcell_tests::parity::{self, Area};
use jobcell_tests::{Bull, Client, Host, RedisServer, Site, wait};
use serde_json::{Value, json};

/// Cases at once. Most of a case is waiting, and there are more queues than cores either way.
const TOGETHER: usize = 6;

/// A behaviour that a producer can observe, and the test that shows it.
pub(crate) struct Case {
    /// Also the name of its queue.
    pub(crate) name: &'static str,
    /// Its line in the parity table.
    pub(crate) sentence: &'static str,
    pub(crate) area: Area,
    /// The clients that have the feature.
    pub(crate) clients: &'static [Client],
    /// What its queue is configured with; [`UNSERVED`] keeps the host away from it.
    pub(crate) settings: &'static str,
    pub(crate) place: (&'static str, u32),
    pub(crate) run: fn(&Scene<'_>),
}

/// Settings of a queue that the shared host does not work on: the case starts hosts itself.
pub(crate) const UNSERVED: &str = "unserved";

/// Settings of a queue whose jobs run one after the other.
pub(crate) const ONE_BY_ONE: &str = "concurrency = 1";

/// Declares a case: `case!(function, Area, clients, "what happens")`, with the settings of its queue at the end where
/// it needs some.
macro_rules! case {
    ($run:path, $area:ident, $clients:expr, $sentence:literal) => {
        case!($run, $area, $clients, $sentence, "concurrency = 4")
    };
    ($run:path, $area:ident, $clients:expr, $sentence:literal, $settings:expr) => {
        $crate::interop::rig::Case {
            name: stringify!($run),
            sentence: $sentence,
            area: ::jobcell_tests::parity::Area::$area,
            clients: $clients,
            settings: $settings,
            place: (file!(), line!()),
            run: $run,
        }
    };
}
pub(crate) use case;

/// One test for each of these clients, which runs its cases.
macro_rules! tests_of {
    ($cases:expr; $($name:ident = $client:ident),+ $(,)?) => {
        $(
            #[test]
            fn $name() {
                $crate::interop::rig::run($cases, ::jobcell_tests::Client::$client);
            }
        )+
    };
}
pub(crate) use tests_of;

/// What a case works with.
pub(crate) struct Scene<'a> {
    pub(crate) client: Client,
    pub(crate) redis: &'a RedisServer,
    pub(crate) bull: &'a Bull,
    /// The folder of the shared host, for our own commands.
    pub(crate) site: &'a Site,
    /// The queue of this case.
    pub(crate) queue: &'a str,
}

/// Runs the cases that this client has, and names all that fail.
pub(crate) fn run(cases: &[Case], client: Client) {
    let cases: Vec<&Case> = cases.iter().filter(|case| case.clients.contains(&client)).collect();
    assert!(!cases.is_empty(), "no case for {client}");
    let redis = RedisServer::start();
    let site = Site::redis(&redis, &config(&cases));
    let bull = Bull::start(client, &redis);
    let host = Host::start(&site);
    let next = AtomicUsize::new(0);
    let failed = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..TOGETHER.min(cases.len()) {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let scene = Scene { client, redis: &redis, bull: &bull, site: &site, queue: case.name };
                    let outcome = panic::catch_unwind(AssertUnwindSafe(|| case.play(&scene)));
                    if outcome.is_err() {
                        failed.lock().unwrap_or_else(PoisonError::into_inner).push(case.name);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    assert!(failed.is_empty(), "{} of {} cases failed with {client}: {failed:?}", failed.len(), cases.len());
    host.stop();
}

fn config(cases: &[&Case]) -> String {
    let mut text = String::new();
    for case in cases.iter().filter(|case| case.settings != UNSERVED) {
        text.push_str(&format!("[queues.{}]\nhandler = \"basic\"\n{}\n", case.name, case.settings));
    }
    text + "[handlers.basic]\nsource = \"${basic}\"\n"
}

impl Case {
    fn play(&self, scene: &Scene<'_>) {
        let case = parity::Case::declared(scene.client, self.area, self.sentence, self.place);
        scene.bull.listen(scene.queue);
        (self.run)(scene);
        drop(case);
    }
}

impl Scene<'_> {
    /// Adds a job and returns its id.
    #[track_caller]
    pub(crate) fn add(&self, name: &str, data: Value, opts: Value) -> String {
        self.bull.add(self.queue, name, data, opts)
    }

    /// `Job.waitUntilFinished`.
    #[track_caller]
    pub(crate) fn finished(&self, id: &str) -> Result<Value, String> {
        self.bull.finished(self.queue, id)
    }

    /// Adds a job and waits for its end.
    #[track_caller]
    pub(crate) fn outcome(&self, name: &str, data: Value, opts: Value) -> (String, Result<Value, String>) {
        let id = self.add(name, data, opts);
        let outcome = self.finished(&id);
        (id, outcome)
    }

    /// A method of the `Queue`.
    #[track_caller]
    pub(crate) fn call(&self, method: &str, args: Value) -> Value {
        self.bull.queue(self.queue, method, args)
    }

    /// A method of a `Job`.
    #[track_caller]
    pub(crate) fn job(&self, id: &str, method: &str, args: Value) -> Value {
        self.bull.job(self.queue, id, method, args)
    }

    /// A method of a `Job` that the client rejects, and the message with which it does.
    #[track_caller]
    pub(crate) fn refusal(&self, id: &str, method: &str, args: Value) -> String {
        let request = json!({"on": "job", "queue": self.queue, "id": id, "method": method, "args": args});
        self.bull.try_call(request).expect_err("the call is rejected")
    }

    /// `Queue.getJob`.
    #[track_caller]
    pub(crate) fn get(&self, id: &str) -> Value {
        self.bull.get(self.queue, id)
    }

    /// `Job.getState`.
    #[track_caller]
    pub(crate) fn state(&self, id: &str) -> String {
        self.bull.state(self.queue, id)
    }

    /// Waits until the job is in this state.
    #[track_caller]
    pub(crate) fn wait_state(&self, id: &str, state: &str) {
        wait::until(&format!("job {id} is {state}"), || (self.state(id) == state).then_some(()));
    }

    /// Waits for an event of the job.
    #[track_caller]
    pub(crate) fn wait_event(&self, event: &str, id: &str) -> Value {
        self.bull.wait_event(self.queue, event, id)
    }

    /// Waits until the job is told to be delayed, and returns when it is due; some clients leave that a text.
    #[track_caller]
    pub(crate) fn due(&self, id: &str) -> u64 {
        let told = self.wait_event("delayed", id)["delay"].to_string();
        told.trim_matches('"').parse().unwrap_or_else(|_| panic!("not a time: {told}"))
    }

    /// Waits for an event of the queue.
    #[track_caller]
    pub(crate) fn wait_any(&self, event: &str) -> Value {
        wait::until(&format!("event {event}"), || {
            self.seen().into_iter().find(|entry| entry["event"] == event)
        })
    }

    /// All events so far.
    #[track_caller]
    pub(crate) fn seen(&self) -> Vec<Value> {
        self.bull.seen(self.queue)
    }

    /// The events of one job so far.
    #[track_caller]
    pub(crate) fn seen_of(&self, id: &str) -> Vec<Value> {
        self.seen().into_iter().filter(|entry| entry["jobId"] == id).collect()
    }

    /// The names of the events of one job so far.
    #[track_caller]
    pub(crate) fn life(&self, id: &str) -> Vec<String> {
        let seen = self.seen_of(id);
        seen.iter().filter_map(|entry| Some(entry["event"].as_str()?.to_owned())).collect()
    }

    /// Ids of jobs in the order in which they completed, once `count` have.
    #[track_caller]
    pub(crate) fn completed(&self, count: usize) -> Vec<String> {
        wait::until(&format!("{count} jobs complete"), || {
            let seen = self.seen();
            let done = seen.iter().filter(|entry| entry["event"] == "completed");
            let ids: Vec<String> =
                done.filter_map(|entry| Some(entry["jobId"].as_str()?.to_owned())).collect();
            (ids.len() >= count).then_some(ids)
        })
    }

    /// How many jobs are in a state.
    #[track_caller]
    pub(crate) fn count(&self, state: &str) -> u64 {
        self.call("getJobCounts", json!([state]))[state].as_u64().expect("a count")
    }

    /// Every entry of the event stream, in its order: when Redis wrote it, by its own clock in milliseconds, and its
    /// fields. The times in a job are of the moment in which its worker sent the call; on a busy machine that is another.
    #[track_caller]
    pub(crate) fn stream(&self) -> Vec<(u64, Vec<String>)> {
        use jobcell_tests::Value::List;
        let entry = |entry: &jobcell_tests::Value| match entry {
            List(parts) => {
                let id = parts[0].text().expect("an entry has an id");
                let ms = id.split('-').next().and_then(|ms| ms.parse().ok());
                (ms.unwrap_or_else(|| panic!("not an entry's id: {id}")), parts[1].texts())
            }
            other => panic!("not an entry: {other:?}"),
        };
        match self.redis.client().run(&["XRANGE", &self.key("events"), "-", "+"]) {
            List(entries) => entries.iter().map(entry).collect(),
            other => panic!("not a stream: {other:?}"),
        }
    }

    /// When Redis wrote each event of this name, with its job.
    #[track_caller]
    pub(crate) fn times(&self, event: &str) -> Vec<(u64, String)> {
        let of_event = self.stream().into_iter().filter(|(_, fields)| fields[1] == event);
        of_event.map(|(ms, fields)| (ms, fields.get(3).cloned().unwrap_or_default())).collect()
    }

    /// A job's hash as stored.
    #[track_caller]
    pub(crate) fn hash(&self, id: &str) -> std::collections::BTreeMap<String, String> {
        self.redis.hash(&self.key(id))
    }

    /// A key of the queue.
    pub(crate) fn key(&self, name: &str) -> String {
        format!("bull:{}:{name}", self.queue)
    }

    /// The queue of this case with further settings, for a host of its own.
    pub(crate) fn own_config(&self, settings: &str) -> String {
        format!(
            "[queues.{}]\nhandler = \"basic\"\n{settings}\n[handlers.basic]\nsource = \"${{basic}}\"\n",
            self.queue
        )
    }
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time after 1970");
    u64::try_from(now.as_millis()).expect("a time before the year 500 million")
}

/// Milliseconds between two times of a job.
#[track_caller]
pub(crate) fn between(job: &Value, earlier: &str, later: &str) -> u64 {
    let time = |name: &str| job[name].as_u64().unwrap_or_else(|| panic!("no {name} in {job}"));
    time(later).checked_sub(time(earlier)).unwrap_or_else(|| panic!("{later} is before {earlier}: {job}"))
}
