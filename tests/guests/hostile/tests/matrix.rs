//! Each guest under each profile: how it ends and when, that neighbours go on, and that nothing is left.

use std::io::Write;
use std::time::Duration;

use jobcell_hostile::{Bout, Profile, Verdict, Vitals, catalogue};
use jobcell_wasm::Limits;
use tokio::time::{Instant, sleep};

use crate::{Ended, World};

const MIB: usize = 1 << 20;
/// The profile of the defaults on code of the baseline compiler.
const BASELINE: &str = "baseline";
/// What a bout may leave resident: the allocator keeps what it was given, and so does the pool of cells.
const RESIDENT_SLACK: u64 = 96 << 20;
/// Threads for blocking work come and go.
const THREADS_SLACK: usize = 8;
/// Connections that the other side has yet to see closed.
const SETTLE: Duration = Duration::from_secs(20);

/// The limits that guests meet, and the code that they run. Deadlines are short, so that the suite ends; they are held to
/// like any other.
fn profiles(world: &World) -> [Profile; 4] {
    let tight = Limits {
        memory: 2 * MIB,
        deadline: Duration::from_millis(120),
        result: 64 << 10,
        host_call: MIB,
        table_elements: 4000,
        enqueued: 10,
        stack: 96 << 10,
        ..Limits::default()
    };
    let default = Limits { deadline: Duration::from_millis(400), ..Limits::default() };
    let large = Limits {
        memory: 256 * MIB,
        deadline: Duration::from_millis(800),
        result: 32 * MIB,
        host_call: 64 * MIB,
        payload: 16 * MIB,
        enqueued: 2000,
        stack: 4 * MIB,
        ..Limits::default()
    };
    let baseline = (BASELINE, default.clone());
    [("tight", tight), ("default", default), ("large", large), baseline]
        .map(|(name, limits)| Profile { baseline: name == BASELINE, ..world.arena.everything(name, limits) })
}

pub(crate) async fn run(world: &World) -> Ended {
    let mut ended = Ended::default();
    let guests = catalogue();
    let (mut latest, mut longest_pause) = (0, 0);
    // What the process has once every guest was there: pools are filled, threads are started.
    let mut warm: Option<Vitals> = None;
    for profile in profiles(world) {
        for guest in guests.iter().filter(|guest| world.wants(guest.name)) {
            let bout = world.arena.bout(guest, &profile).await.unwrap();
            say(&bout);
            latest = latest.max(bout.late_ms.unwrap_or(0));
            longest_pause = longest_pause.max(bout.pause_ms);
            let fault = match &bout.verdict {
                Verdict::Held => left_behind(&bout).await,
                // Under these profiles every guest comes to its attack.
                Verdict::NotReached(why) => Some(format!("not reached: {}", why.join("; "))),
                Verdict::Failed(faults) => Some(faults.join("; ")),
            };
            let fault = fault.or_else(|| other_code(&bout, &profile));
            ended.check(&format!("{}_{}_under_{}", bout.row, bout.guest, bout.profile), fault);
        }
        let now = Vitals::now();
        println!("after {}: {} MiB resident, {now:?}", profile.name, now.resident >> 20);
        match warm {
            None => warm = Some(now),
            Some(warm) => {
                let fault = (now.resident > warm.resident + 2 * RESIDENT_SLACK
                    || now.threads > warm.threads + THREADS_SLACK)
                    .then(|| format!("the process grew from {warm:?} to {now:?}"));
                ended.check(&format!("the_process_is_as_it_was_after_{}", profile.name), fault);
            }
        }
    }
    println!("latest end: {latest} ms after its deadline; longest pause of other work: {longest_pause} ms");
    ended
}

/// A profile shows nothing of a compiler whose code did not run.
fn other_code(bout: &Bout, profile: &Profile) -> Option<String> {
    let wanted = if profile.baseline { "baseline" } else { "optimised" };
    let code = bout.code.filter(|code| *code != wanted)?;
    Some(format!("it ran {code} code"))
}

fn say(bout: &Bout) {
    // The first line of a reason is enough to tell one bound from another.
    let reason: String = bout.reason.lines().next().unwrap_or_default().chars().take(110).collect();
    println!(
        "{:<4} {:<34} {:<8} {:<10} {:>6} ms{} neighbours {:>3}, pause {:>3} ms, peak {:>4} MiB  {}",
        bout.row,
        bout.guest,
        bout.profile,
        bout.end,
        bout.took_ms + bout.admission_ms,
        bout.late_ms.map_or_else(|| " ".repeat(10), |late| format!(" (+{late:>3} ms)")),
        bout.neighbours,
        bout.pause_ms,
        bout.after.resident_peak >> 20,
        reason
    );
    let _ = std::io::stdout().flush();
}

/// What is there now and was not before, once what ends by itself has ended.
async fn left_behind(bout: &Bout) -> Option<String> {
    let started = Instant::now();
    loop {
        let (before, now) = (bout.before, Vitals::now());
        let fault = if now.descriptors > before.descriptors {
            format!("{} descriptors were left", now.descriptors - before.descriptors)
        } else if now.tasks > before.tasks {
            format!("{} tasks were left", now.tasks - before.tasks)
        } else if now.resident > before.resident + RESIDENT_SLACK {
            format!("{} MiB were left", (now.resident - before.resident) >> 20)
        } else {
            return None;
        };
        if started.elapsed() > SETTLE {
            return Some(fault);
        }
        sleep(Duration::from_millis(20)).await;
    }
}
