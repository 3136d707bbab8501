//! `jobcell doctor --attack`: what came of the hostile guests, row by row.

use jobcell_hostile::Verdict;

use super::args::DoctorArgs;
use super::console::{Console, table, visible};
use super::exit::{Exit, Failure};
use crate::attack::{self, Attack, AttackError, AttackReport, Attacked, Progress, RowReport};
use crate::config::Config;

pub(super) async fn attack(
    config: &Config,
    args: DoctorArgs,
    console: &mut Console<'_>,
) -> Result<Exit, Failure> {
    let DoctorArgs { attack: _, rows, full } = args;
    let attack = Attack { rows, full };
    let (sender, mut told) = tokio::sync::mpsc::unbounded_channel();
    let mut last = None;
    let mut tell = move |Progress { done, all, row, what, profile }: Progress<'_>| {
        // One line a row: a bout takes a second at most.
        if last.replace((row, profile.to_owned())) != Some((row, profile.to_owned())) {
            let _ = sender.send(format!("{done:>4} of {all}  {profile}: {row} {what}"));
        }
    };
    let running = attack::attack(config, &attack, &mut tell);
    let mut running = std::pin::pin!(running);
    let report = loop {
        tokio::select! {
            biased;
            Some(line) = told.recv() => console.note(&line),
            report = &mut running => break report,
        }
    };
    let report = report.map_err(|fault| match fault {
        AttackError::NoRow { .. } => Failure::usage(fault.to_string()),
        AttackError::Wasm(_) | AttackError::Arena(_) | AttackError::Folder(_) => {
            Failure::failed(fault.to_string())
        }
    })?;
    let exit = if report.ok { Exit::Done } else { Exit::Failed };
    console.answer(&report, describe)?;
    Ok(exit)
}

fn describe(report: &AttackReport) -> String {
    let AttackReport {
        held,
        not_reached,
        failed,
        late_max_ms,
        engine,
        guest_bytes,
        profiles,
        rows,
        bouts,
        took_ms,
        ..
    } = report;
    let mut shown = format!(
        "engine    wasmtime {}, {} cells, guests of {} KiB in this program\n",
        engine.wasmtime,
        engine.cells,
        guest_bytes / 1024
    );
    for profile in profiles {
        shown += &format!("attacked  {}\n", of_profile(profile));
    }
    shown.push('\n');
    let titles =
        ["row", "what", ">held", ">not reached", ">failed", "ended by", ">longest", ">after the deadline"];
    shown += &table(&titles, &rows.iter().map(of_row).collect::<Vec<_>>());
    for bout in bouts {
        let (word, said) = match &bout.verdict {
            Verdict::Held => continue,
            Verdict::NotReached(why) => ("not reached", why),
            Verdict::Failed(faults) => ("FAILED", faults),
        };
        for what in said {
            let place = format!("{} {} under {}", bout.row, bout.guest, bout.profile);
            shown += &format!("\n{word:<12} {place}: {}", visible(what));
        }
    }
    let mib = |bytes: u64| bytes >> 20;
    let unreached = match not_reached {
        0 => String::new(),
        n => format!("; {n} more did not come to their attack under these limits and grants"),
    };
    shown += &format!(
        "\nmemory    {} MiB before, {} MiB at most, {} MiB after\nheld      {held} of {} in {:.0} s{unreached}; \
         an end up to {late_max_ms} ms after its deadline counts as held\n",
        mib(report.memory_before_bytes),
        mib(report.memory_peak_bytes),
        mib(report.memory_after_bytes),
        held + failed,
        std::time::Duration::from_millis(*took_ms).as_secs_f64()
    );
    shown
}

fn of_profile(profile: &Attacked) -> String {
    let Attacked { name, also, deadline_ms, deadline_configured_ms, memory_bytes, stack_bytes } = profile;
    let also = if also.is_empty() { String::new() } else { format!(" (as {})", also.join(", ")) };
    let cut =
        deadline_configured_ms.map(|ms| format!(", cut from {ms} ms; --full keeps it")).unwrap_or_default();
    let (memory, stack) = (memory_bytes >> 20, stack_bytes.div_ceil(1024));
    format!("{name}{also}: memory {memory} MiB, stack {stack} KiB, deadline {deadline_ms} ms{cut}")
}

fn of_row(row: &RowReport) -> Vec<String> {
    let RowReport { row, what, held, not_reached, failed, ends, longest_ms, latest_ms } = row;
    let ends: Vec<String> = ends.iter().map(|(end, n)| format!("{end} {n}")).collect();
    vec![
        (*row).to_owned(),
        (*what).to_owned(),
        held.to_string(),
        not_reached.to_string(),
        failed.to_string(),
        ends.join(", "),
        format!("{longest_ms} ms"),
        latest_ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms} ms")),
    ]
}
