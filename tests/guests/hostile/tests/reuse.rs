//! Cells are made in places where others were: nothing of those is to be seen.

use std::time::Duration;

use jobcell_hostile::{Verdict, catalogue};
use jobcell_wasm::Limits;

use crate::{Ended, World};

/// Attempts, several times the places of the pool.
const ATTEMPTS: u32 = 1200;
/// At the same time.
const AT_ONCE: u32 = 40;

pub(crate) async fn run(world: &World) -> Ended {
    let mut ended = Ended::default();
    let name = "no_cell_sees_what_another_one_left";
    if !world.wants(name) {
        return ended;
    }
    // With time enough: forty at once look through a quarter of a megabyte each.
    let profile =
        world.arena.everything("reuse", Limits { deadline: Duration::from_secs(30), ..Limits::default() });
    let canaries = catalogue().into_iter().find(|guest| guest.name == "canaries").unwrap();
    let canaries = jobcell_hostile::Guest { at_once: AT_ONCE, ..canaries };
    let mut faults = Vec::new();
    for _ in 0..ATTEMPTS / AT_ONCE {
        if let Verdict::Failed(found) = world.arena.bout(&canaries, &profile).await.unwrap().verdict {
            faults.extend(found);
        }
    }
    println!("{ATTEMPTS} cells looked for what others left, {} found something", faults.len());
    ended.check(name, faults.into_iter().next());
    ended
}
