//! `jobcell job receipt`: what the attempts of a job cost.

use std::fmt::Write;

use jobcell_core::store::AttemptReceipt;
use jobcell_core::{Receipt, Store};

use super::super::args::JobPlace;
use super::super::console::{Console, table, time, visible};
use super::super::exit::Failure;
use super::super::receipt;
use super::{missing, named};

pub(super) async fn show(
    store: &dyn Store,
    place: &JobPlace,
    attempt: Option<u64>,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let (queue, id) = named(place)?;
    let receipts = store.receipts(&queue, &id).await?;
    if receipts.is_empty() && store.get(&queue, &id).await?.is_none() {
        return Err(missing(store, &queue, &id).await);
    }
    let Some(attempt) = attempt else {
        if receipts.is_empty() {
            console.note(&format!(
                "job {id:?} of queue {queue:?} has no receipt: no attempt of it has ended, another client ran it, or \
                 receipts = 0 in [queues.{queue}]"
            ));
        }
        return console.answer(&receipts, |receipts| overview(receipts));
    };
    match receipts.iter().find(|receipt| receipt.attempt == attempt) {
        Some(receipt) => console.answer(receipt, details),
        None => {
            let there: Vec<String> = receipts.iter().map(|receipt| receipt.attempt.to_string()).collect();
            let there = if there.is_empty() { "none".to_owned() } else { there.join(", ") };
            Err(Failure::failed(format!(
                "job {id:?} of queue {queue:?} has no receipt of attempt {attempt}; there are those of: {there}"
            )))
        }
    }
}

/// Which version ran each of these attempts, a line each.
pub(super) fn versions(receipts: &[AttemptReceipt]) -> String {
    let line = |receipt: &AttemptReceipt| {
        let AttemptReceipt { attempt, handler, version, outcome, receipt: cost, .. } = receipt;
        let outcome = outcome_of(outcome, cost);
        format!("{attempt}: {handler}@{version} {outcome}")
    };
    receipts.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn overview(receipts: &[AttemptReceipt]) -> String {
    if receipts.is_empty() {
        return String::new();
    }
    let row = |receipt: &AttemptReceipt| {
        let AttemptReceipt { attempt, at, handler, version, digest: _, outcome, receipt: cost } = receipt;
        let near: Vec<&str> = cost.near.iter().map(|near| &*near.name).collect();
        [
            attempt.to_string(),
            outcome_of(outcome, cost),
            format!("{handler}@{version}"),
            receipt::milliseconds(cost.wall_us),
            receipt::milliseconds(cost.cpu_us),
            receipt::size(cost.memory_peak_bytes),
            cost.host_calls.total().to_string(),
            near.join(","),
            time(*at),
        ]
        .map(|cell| visible(&cell))
        .to_vec()
    };
    let titles = [">ATTEMPT", "OUTCOME", "HANDLER", ">WALL", ">CPU", ">PEAK", ">CALLS", "NEAR", "ENDED"];
    table(&titles, &receipts.iter().map(row).collect::<Vec<_>>())
}

fn details(receipt: &AttemptReceipt) -> String {
    let AttemptReceipt { attempt, at, handler, version, digest, outcome, receipt: cost } = receipt;
    let outcome = outcome_of(outcome, cost);
    let mut rows = vec![
        ("attempt", attempt.to_string()),
        ("ended", time(*at)),
        ("handler", format!("{handler}@{version}")),
    ];
    rows.extend(digest.as_ref().map(|digest| ("digest", digest.clone())));
    rows.push(("outcome", outcome));
    rows.extend(receipt::lines(cost));
    let mut shown = String::new();
    for (label, text) in rows {
        // Writing to a String cannot fail.
        let _ = writeln!(shown, "{label:<8}  {}", visible(&text));
    }
    shown
}

fn outcome_of(outcome: &str, cost: &Receipt) -> String {
    let cause = cost.stopped_by.map(jobcell_core::StopCause::as_str).filter(|cause| *cause != outcome);
    let cause = if cost.cached { Some("cached") } else { cause };
    cause.map_or_else(|| outcome.to_owned(), |cause| format!("{outcome} ({cause})"))
}

#[cfg(test)]
mod tests {
    use jobcell_core::StopCause;

    use super::*;

    fn attempt(attempt: u64, receipt: Receipt) -> AttemptReceipt {
        AttemptReceipt {
            attempt,
            at: 1_700_000_000_000,
            handler: "media".to_owned(),
            version: "0123456789ab".to_owned(),
            digest: Some(format!("sha256:0123456789ab{}", "0".repeat(52))),
            outcome: if receipt.stopped_by.is_some() { "stopped" } else { "completed" }.to_owned(),
            receipt,
        }
    }

    #[test]
    fn attempts_are_rows_and_one_is_told_whole() {
        let mut broke = Receipt { wall_us: 1500, stopped_by: Some(StopCause::Memory), ..Receipt::default() };
        broke.note("memory", 60 << 20, 64 << 20);
        let receipts = [attempt(1, broke), attempt(2, Receipt { wall_us: 20_000, ..Receipt::default() })];
        let shown = overview(&receipts);
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines.len(), 3, "{shown}");
        for part in ["stopped (memory)", "media@0123456789ab", "1.500 ms", "memory", "2023-11-14T22:13:20"] {
            assert!(lines[1].contains(part), "{part:?} in {shown}");
        }
        assert!(lines[2].contains("completed") && lines[2].contains("20.000 ms"), "{shown}");
        let shown = details(&receipts[0]);
        assert!(shown.contains("limits.memory: used 60.0 MiB of 64.0 MiB"), "{shown}");
        let digest = receipts[0].digest.as_ref().unwrap();
        assert!(shown.contains(&format!("\ndigest    {digest}\n")), "{shown}");
        let native = AttemptReceipt { version: "native".to_owned(), digest: None, ..receipts[1].clone() };
        let shown = details(&native);
        assert!(shown.contains("media@native") && !shown.contains("digest"), "{shown}");
        assert_eq!(overview(&[]), "");
        let cost = Receipt { cached: true, computed_by: Some("q/1".to_owned()), ..Receipt::default() };
        let cached = attempt(1, cost);
        let shown = details(&cached);
        assert!(shown.contains("completed (cached)") && shown.contains("that of job q/1"), "{shown}");
        let shown = versions(&receipts);
        assert_eq!(shown, "1: media@0123456789ab stopped (memory)\n2: media@0123456789ab completed");
    }
}
