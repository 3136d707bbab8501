//! The differential test: one random sequence of steps is done by BullMQ's own client and by our store, each on a
//! database of its own, at the same made-up times. What they answer, every key and every event must be the same, except
//! for what `known` lists.
//!
//! `JOBCELL_DIFFERENTIAL_SEED` is a number or `random`, `JOBCELL_DIFFERENTIAL_STEPS` makes a run longer, and
//! `JOBCELL_DIFFERENTIAL_THEME` keeps it to one of the themes by its number. A failure prints its seed and the shortest sequence found that shows the
//! difference.

mod act;
mod choose;
mod keys;
mod known;
mod ours;
mod plan;
mod run;
mod theirs;
mod world;

use jobcell_tests::Client;
use jobcell_tests::parity::{self, Area};
use plan::{Theme, plan};
use run::Pair;

/// Which BullMQ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Major {
    /// 5.81.5.
    Five,
    /// 6.7.0.
    Six,
}

/// The queues that take part: flows go from one to the other.
const QUEUES: [&str; 2] = ["a", "b"];
/// The databases of the two sides.
const THEIRS: u32 = 0;
const OURS: u32 = 1;

/// Steps of a run that do something, at least.
const STEPS: usize = 10_000;
/// Steps of one episode, which starts with empty databases.
const EPISODE: usize = 400;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is {text:?}, not a number")))
}

/// The same every time unless something else is asked for, so that a red run is about what was changed.
fn seed() -> u64 {
    match std::env::var("JOBCELL_DIFFERENTIAL_SEED").as_deref() {
        Ok("random") => {
            let time = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            time.map_or(1, |time| u64::from(time.subsec_nanos()))
        }
        _ => number("JOBCELL_DIFFERENTIAL_SEED").unwrap_or(1),
    }
}

fn agree(major: Major) {
    let client = match major {
        Major::Five => Client::Five,
        Major::Six => Client::Six,
    };
    let _case = parity::case(
        client,
        Area::Differential,
        "10,000 random steps by its own client and by our store give the same answers, keys and events",
    );
    let seed = seed();
    let steps = number("JOBCELL_DIFFERENTIAL_STEPS").map_or(STEPS, |steps| steps as usize);
    let only = number("JOBCELL_DIFFERENTIAL_THEME");
    println!("JOBCELL_DIFFERENTIAL_SEED={seed}");
    let mut pair = Pair::start(major);
    let mut done = 0;
    for episode in 0.. {
        let theme = Theme::ALL[only.map_or(episode, |theme| theme as usize) % Theme::ALL.len()];
        let plan = plan(theme, seed.wrapping_add(episode as u64), EPISODE);
        match pair.run(&plan) {
            Ok(acts) => done += acts,
            Err(report) => panic!(
                "BullMQ and Jobcell differ ({major:?}, {theme:?}, episode {episode}); repeat it with \
                 JOBCELL_DIFFERENTIAL_SEED={seed}\n{report}"
            ),
        }
        if done >= steps {
            break;
        }
    }
    println!("{done} steps agree");
}

#[test]
fn bullmq_5_and_our_store_do_the_same() {
    agree(Major::Five);
}

#[test]
fn bullmq_6_and_our_store_do_the_same() {
    agree(Major::Six);
}
