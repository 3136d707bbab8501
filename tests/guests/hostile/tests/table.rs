//! The catalogue itself: nothing is missing from it, and nothing in it is misspelt.

use std::collections::HashSet;

use jobcell_core::StopCause;
use jobcell_hostile::{Guest, ROWS, catalogue, embedded_bytes};

use crate::Ended;

/// Advisories of the engine that touched what this host is made of.
const ADVISORIES: [&str; 14] = [
    "243v", "852m", "jxhv", "hx6p", "394w", "m758", "q554", "6fr9", "5qpp", "r8xh", "w36r", "w4qr", "3r89",
    "5hhx",
];

pub(crate) fn run() -> Ended {
    let guests = catalogue();
    println!(
        "{} guests over {} rows; {} KiB of them are part of the program",
        guests.len(),
        ROWS.len(),
        embedded_bytes() / 1024
    );
    let mut ended = Ended::default();
    let wanted = |is: bool, fault: &str| (!is).then(|| fault.to_owned());
    ended.check("there_are_sixty_guests_and_more", wanted(guests.len() >= 60, "there are fewer"));
    ended.check(
        "they_are_small",
        wanted(embedded_bytes() < 512 << 10, "they are too large to be part of a program"),
    );
    for (row, what) in ROWS {
        let has = guests.iter().any(|guest| guest.row == row);
        ended.check(&format!("row_{row}_has_guests"), wanted(has, &format!("there is none for {what}")));
    }
    for id in ADVISORIES {
        let has = guests
            .iter()
            .any(|guest| guest.advisory.is_some_and(|full| full.contains(&format!("GHSA-{id}"))));
        ended.check(&format!("advisory_{id}_has_a_guest"), wanted(has, "there is none"));
    }
    let names: HashSet<_> = guests.iter().map(|guest| guest.name).collect();
    ended.check("names_are_unique", wanted(names.len() == guests.len(), "two have the same"));
    for guest in &guests {
        ended.check(&format!("{}_is_spelt_well", guest.name), misspelt(guest));
    }
    ended
}

fn misspelt(guest: &Guest) -> Option<String> {
    let causes = StopCause::ALL.map(StopCause::as_str);
    let words = ["completed", "failed", "refused", "requeued"];
    if let Some(end) = guest.ends.iter().find(|end| !causes.contains(end) && !words.contains(end)) {
        return Some(format!("there is no end {end:?}"));
    }
    // The host itself must never be what fails.
    if guest.ends.is_empty() || guest.ends.contains(&"host") {
        return Some("it may not end, or the host may fail".to_owned());
    }
    let needs = ["http", "blobs", "cache", "kv", "enqueue", "publish", "secrets"];
    if let Some(need) = guest.needs.iter().find(|need| !needs.contains(need)) {
        return Some(format!("there is no grant {need:?}"));
    }
    (!ROWS.iter().any(|(row, _)| *row == guest.row)).then(|| format!("there is no row {}", guest.row))
}
