//! `jobcell doctor --attack`: the hostile guests against this configuration.
//!
//! Every guest runs under the limits and grants of every configured handler, and once more under the default limits
//! with every grant there is. What it is given to use is nobody's: a cache and channels in memory, a store in a
//! temporary folder, secrets of no value, listeners on loopback. Nothing of the host's own is read or written but the
//! configuration.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jobcell_core::Store;
use jobcell_embedded::{EmbeddedOptions, EmbeddedStore};
use jobcell_hostile::{
    Arena, ArenaError, Bout, Guest, Profile, ROWS, Verdict, Vitals, catalogue, embedded_bytes,
};
use jobcell_wasm::{Engine, EngineReport, Limits, WasmError};
use serde::Serialize;

use crate::config::Config;
use crate::configured;

/// What is to be attacked, and how long.
#[derive(Debug, Clone, Default)]
pub struct Attack {
    /// Rows such as `M2`, or classes such as `M`. Empty is all.
    pub rows: Vec<String>,
    /// Keep deadlines as they are configured. Otherwise those over a second are cut to one, because some forty guests
    /// run until theirs.
    pub full: bool,
}

/// How far an attack has come.
#[derive(Debug, Clone, Copy)]
pub struct Progress<'a> {
    /// Bouts that are over.
    pub done: usize,
    /// Bouts in all.
    pub all: usize,
    /// The row that is next.
    pub row: &'static str,
    /// What that row is.
    pub what: &'static str,
    /// The profile it runs under.
    pub profile: &'a str,
}

/// What came of an attack.
#[derive(Debug, Clone, Serialize)]
pub struct AttackReport {
    /// The host failed nowhere.
    pub ok: bool,
    /// Bouts that it held in.
    pub held: usize,
    /// Bouts whose guest did not come to its attack: it needs a grant that the handler has not, or a limit is too tight
    /// or too wide for it. They show nothing; the profile of defaults is there so that every attack is reached once.
    pub not_reached: usize,
    /// Bouts that it did not.
    pub failed: usize,
    /// How late after its deadline an attempt may end without failing its bout, in milliseconds: far more than what is
    /// promised on a machine with time, because this one may have other things to do. The rows have what was seen.
    pub late_max_ms: u64,
    /// How the engine ran.
    pub engine: EngineReport,
    /// Bytes of the guests that are part of this program.
    pub guest_bytes: usize,
    /// What was attacked.
    pub profiles: Vec<Attacked>,
    /// Row by row, over all profiles.
    pub rows: Vec<RowReport>,
    /// Bytes that this process had resident before, at most, and after.
    pub memory_before_bytes: u64,
    /// See `memory_before_bytes`.
    pub memory_peak_bytes: u64,
    /// See `memory_before_bytes`.
    pub memory_after_bytes: u64,
    /// Milliseconds in all.
    pub took_ms: u64,
    /// Every bout.
    pub bouts: Vec<Bout>,
}

/// One profile that was attacked.
#[derive(Debug, Clone, Serialize)]
pub struct Attacked {
    /// The handler's name, and whether this is about its first code.
    pub name: String,
    /// Other handlers with the same limits and grants.
    pub also: Vec<String>,
    /// The deadline that was attacked, in milliseconds.
    pub deadline_ms: u64,
    /// The configured one, where it was cut.
    pub deadline_configured_ms: Option<u64>,
    /// The memory limit in bytes.
    pub memory_bytes: usize,
    /// The stack in bytes.
    pub stack_bytes: usize,
}

/// One row over all profiles.
#[derive(Debug, Clone, Serialize)]
pub struct RowReport {
    /// Such as `M2`.
    pub row: &'static str,
    /// What it is.
    pub what: &'static str,
    /// Bouts that the host held in.
    pub held: usize,
    /// Bouts whose guest did not come to its attack.
    pub not_reached: usize,
    /// Bouts that it did not.
    pub failed: usize,
    /// How often each bound, or the guest itself, made the end.
    pub ends: BTreeMap<&'static str, usize>,
    /// The longest bout, admission included, in milliseconds.
    pub longest_ms: u64,
    /// The latest end after a deadline, in milliseconds.
    pub latest_ms: Option<u64>,
}

/// Why nothing was attacked.
#[derive(Debug, thiserror::Error)]
pub enum AttackError {
    /// No such row.
    #[error("there is no row {row:?}; there are {}", ROWS.map(|(row, _)| row).join(" "))]
    NoRow {
        /// What was asked for.
        row: String,
    },
    /// The engine does not start.
    #[error(transparent)]
    Wasm(#[from] WasmError),
    /// The arena does not open.
    #[error(transparent)]
    Arena(#[from] ArenaError),
    /// A folder for a store of nobody's jobs cannot be made.
    #[error(
        "a temporary folder for the attacked store cannot be used: {0}; set TMPDIR to one that can be written"
    )]
    Folder(String),
}

/// Deadlines are cut to this.
const DEADLINE_MAX: Duration = Duration::from_secs(1);
/// How late an end may be: what is promised on a machine with time is far less and is told.
const GRACE: Duration = Duration::from_secs(1);
/// How long admission may take: the compiler's own bounds, and reading what it made.
const ADMISSION_MAX: Duration = Duration::from_secs(60);
/// The profile of defaults.
const DEFAULTS: &str = "defaults";
/// Behind the name of a profile whose guests run baseline code.
const ON_BASELINE: &str = " on baseline code";

/// Runs the attack. Cancel safety: dropping the future ends it; its temporary folder is removed.
///
/// # Errors
/// When nothing can be attacked. That the host did not hold is in the report.
pub async fn attack(
    config: &Config,
    attack: &Attack,
    tell: &mut (dyn FnMut(Progress<'_>) + Send),
) -> Result<AttackReport, AttackError> {
    let guests = chosen(&attack.rows)?;
    let engine = Engine::new(configured::engine(config))?;
    let folder = tempfile::tempdir().map_err(|fault| AttackError::Folder(fault.to_string()))?;
    let store = EmbeddedStore::open(folder.path(), EmbeddedOptions::default())
        .map_err(|fault| AttackError::Folder(fault.to_string()))?;
    let store: Arc<dyn Store> = Arc::new(store);
    let arena = Arena::open(engine.clone(), Some(Arc::clone(&store)), GRACE, ADMISSION_MAX).await?;
    let mut profiles = profiles(config, attack, &arena);
    if engine.report().baseline {
        let again: Vec<_> = profiles.iter().map(on_baseline).collect();
        profiles.extend(again);
    }
    let is_first_of_code = |n: usize| n == 0 || profiles[n].0.baseline != profiles[n - 1].0.baseline;
    let (started, before) = (Instant::now(), Vitals::now());
    let due: Vec<_> = profiles
        .iter()
        .enumerate()
        .flat_map(|(n, (profile, _))| guests.iter().map(move |guest| (n, profile, guest)))
        .filter(|(n, _, guest)| is_first_of_code(*n) || !is_alike_under_all(guest))
        .collect();
    let mut bouts: Vec<Bout> = Vec::with_capacity(due.len());
    for (_, profile, guest) in &due {
        let what = ROWS.iter().find(|(row, _)| *row == guest.row).map_or("", |(_, what)| *what);
        let (done, all) = (bouts.len(), due.len());
        tell(Progress { done, all, row: guest.row, what, profile: &profile.name });
        let guest = sized(guest, profile, config.cells.max);
        bouts.push(arena.bout(&guest, profile).await?);
    }
    store.close().await;
    let Tally { held, not_reached, failed } = Tally::of(&bouts.iter().collect::<Vec<_>>());
    Ok(AttackReport {
        ok: failed == 0,
        held,
        not_reached,
        failed,
        late_max_ms: ms(GRACE),
        engine: engine.report().clone(),
        guest_bytes: embedded_bytes(),
        profiles: profiles.into_iter().map(|(_, attacked)| attacked).collect(),
        rows: rows(&bouts),
        memory_before_bytes: before.resident,
        memory_peak_bytes: bouts.iter().map(|bout| bout.after.resident_peak).max().unwrap_or(before.resident),
        memory_after_bytes: Vitals::now().resident,
        took_ms: ms(started.elapsed()),
        bouts,
    })
}

/// The guests of these rows and classes.
fn chosen(rows: &[String]) -> Result<Vec<Guest>, AttackError> {
    let covers = |asked: &str, row: &str| {
        asked.eq_ignore_ascii_case(row)
            || asked.eq_ignore_ascii_case(row.trim_end_matches(|c: char| c.is_ascii_digit()))
    };
    for asked in rows {
        if !ROWS.iter().any(|(row, _)| covers(asked, row)) {
            return Err(AttackError::NoRow { row: asked.clone() });
        }
    }
    let is_asked = |guest: &Guest| rows.is_empty() || rows.iter().any(|asked| covers(asked, guest.row));
    Ok(catalogue().into_iter().filter(is_asked).collect())
}

/// Every handler, those with the same limits and grants once; and the defaults with everything granted.
fn profiles(config: &Config, attack: &Attack, arena: &Arena) -> Vec<(Profile, Attacked)> {
    let mut profiles: Vec<(Profile, Attacked)> = Vec::new();
    let handlers = config.handlers.values().map(|handler| Profile {
        name: handler.name.clone(),
        limits: handler.limits.clone(),
        grants: handler.grants.clone(),
        baseline: false,
    });
    let engine = configured::engine(config);
    let mut defaults = Limits::default();
    // The engine may have been given less than a handler has by default, or another stack.
    defaults.stack = engine.stack;
    defaults.memory = defaults.memory.min(engine.memory_max);
    defaults.table_elements = defaults.table_elements.min(engine.table_elements);
    for mut profile in handlers.chain([arena.everything(DEFAULTS, defaults)]) {
        let configured = profile.limits.deadline;
        if !attack.full {
            profile.limits.deadline = configured.min(DEADLINE_MAX);
        }
        let is_same = |(known, _): &&mut (Profile, Attacked)| {
            known.grants == profile.grants && format!("{:?}", known.limits) == format!("{:?}", profile.limits)
        };
        if let Some((_, same)) = profiles.iter_mut().find(is_same) {
            same.also.push(profile.name);
            continue;
        }
        let attacked = Attacked {
            name: profile.name.clone(),
            also: Vec::new(),
            deadline_ms: ms(profile.limits.deadline),
            deadline_configured_ms: (profile.limits.deadline < configured).then(|| ms(configured)),
            memory_bytes: profile.limits.memory,
            stack_bytes: profile.limits.stack,
        };
        profiles.push((profile, attacked));
    }
    profiles
}

/// The same on the code that versions begin with.
fn on_baseline((profile, attacked): &(Profile, Attacked)) -> (Profile, Attacked) {
    let name = format!("{}{ON_BASELINE}", profile.name);
    let attacked = Attacked { name: name.clone(), ..attacked.clone() };
    (Profile { name, baseline: true, ..profile.clone() }, attacked)
}

/// Whether a guest meets the same under every profile of one code: what is compiled, or refused before, knows neither limits nor
/// grants.
fn is_alike_under_all(guest: &Guest) -> bool {
    const ADMISSION: [&str; 7] = ["C1", "C2", "C3", "C4", "C5", "C6", "F6"];
    ADMISSION.contains(&guest.row)
}

/// The guest as this machine can bear it: the attack shows that the host holds, not what happens to a machine that is
/// too small for its own configuration.
fn sized(guest: &Guest, profile: &Profile, cells: u32) -> Guest {
    let mut sized = guest.clone();
    // One place is for the neighbour.
    sized.at_once = guest.at_once.min(cells.saturating_sub(1)).max(1);
    if guest.row == "M11" {
        let limit = (profile.limits.memory as u64).max(1);
        let room = memory_available().map_or(1, |free| free / 2 / limit);
        sized.at_once = sized.at_once.min(u32::try_from(room).unwrap_or(u32::MAX)).max(1);
    }
    sized
}

/// Bytes of memory that this machine could give, where it tells.
fn memory_available() -> Option<u64> {
    let told = fs::read_to_string("/proc/meminfo").ok()?;
    let line = told.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(line.trim().trim_end_matches(" kB").parse::<u64>().ok()? * 1024)
}

fn rows(bouts: &[Bout]) -> Vec<RowReport> {
    let of_row = |(row, what): (&'static str, &'static str)| {
        let of: Vec<&Bout> = bouts.iter().filter(|bout| bout.row == row).collect();
        let Tally { held, not_reached, failed } = Tally::of(&of);
        let mut ends = BTreeMap::new();
        for bout in &of {
            *ends.entry(bout.end).or_default() += 1;
        }
        RowReport {
            row,
            what,
            held,
            not_reached,
            failed,
            ends,
            longest_ms: of.iter().map(|bout| bout.admission_ms + bout.took_ms).max().unwrap_or(0),
            latest_ms: of.iter().filter_map(|bout| bout.late_ms).max(),
        }
    };
    ROWS.into_iter().map(of_row).filter(|row| row.held + row.not_reached + row.failed > 0).collect()
}

/// Bouts by verdict.
struct Tally {
    held: usize,
    not_reached: usize,
    failed: usize,
}

impl Tally {
    fn of(bouts: &[&Bout]) -> Self {
        let count = |is: fn(&Verdict) -> bool| bouts.iter().filter(|bout| is(&bout.verdict)).count();
        Self {
            held: count(Verdict::held),
            not_reached: count(|verdict| matches!(verdict, Verdict::NotReached(_))),
            failed: count(|verdict| matches!(verdict, Verdict::Failed(_))),
        }
    }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use jobcell_wasm::Grants;

    use super::*;

    #[test]
    fn rows_are_chosen_by_name_and_by_class() {
        let of = |rows: &[&str]| chosen(&rows.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(of(&[]).unwrap().len(), catalogue().len());
        assert!(of(&["M2"]).unwrap().iter().all(|guest| guest.row == "M2"));
        let memory = of(&["m"]).unwrap();
        assert!(memory.len() > 20 && memory.iter().all(|guest| guest.row.starts_with('M')));
        // `M1` is a row, not the beginning of M10 and M11.
        assert!(of(&["M1"]).unwrap().iter().all(|guest| guest.row == "M1"));
        let refused = of(&["M1", "X9"]).unwrap_err().to_string();
        assert!(refused.contains("\"X9\"") && refused.contains("M11"), "{refused}");
    }

    #[test]
    fn a_crowd_fits_into_the_pool() {
        let crowd = catalogue().into_iter().find(|guest| guest.at_once > 100).unwrap();
        let profile = Profile {
            name: "x".to_owned(),
            limits: Limits::default(),
            grants: Grants::default(),
            baseline: false,
        };
        assert_eq!(sized(&crowd, &profile, 10).at_once, 9);
        assert_eq!(sized(&crowd, &profile, 1).at_once, 1);
    }
}
