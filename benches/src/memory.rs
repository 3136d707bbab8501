//! Resident memory: an idle host with the three handlers, a live no-op cell more, and the peers beside it.

use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::peer::{Peer, Running, guest};
use crate::queue;
use crate::server::Server;
use crate::stats::rounded;

/// Live cells of the measurement.
const CELLS: u64 = 500;
/// For allocators and timers to settle.
const SETTLE: Duration = Duration::from_secs(3);

/// Measures and prints; returns the raw values.
pub(crate) async fn measure() -> anyhow::Result<Value> {
    let server = Server::start().await?;
    let idle = idle_host(&server).await?;
    println!("  idle host with media, payment and notification: {:.1} MiB", mib(idle));
    let (before, during) = live_cells(&server).await?;
    let each = during.saturating_sub(before) as f64 / CELLS as f64;
    println!("  a live no-op cell: {each:.0} KiB ({:.1} → {:.1} MiB with {CELLS})", mib(before), mib(during));
    let mut peers = Vec::new();
    for (peer, concurrency) in [(Peer::BullmqNode, 50), (Peer::BullmqRust, 50), (Peer::BullmqSandboxed, 8)] {
        let mut connection = server.connect().await?;
        queue::fill(&mut connection, "noop", queue::PAYLOAD, 200).await?;
        queue::open(&mut connection).await?;
        let worker = peer.start(&server.url(), concurrency).await?;
        // Child processes are only there once there was work for them.
        queue::wait_completed(&mut connection, 200).await?;
        sleep(SETTLE).await;
        let (rss, processes) = (worker.rss_kib(), worker.processes());
        println!("  {} ({processes} processes): {:.1} MiB", peer.name(), mib(rss));
        peers.push(json!({ "worker": peer.name(), "processes": processes, "rss_mib": mib(rss) }));
        worker.stop().await?;
    }
    Ok(json!({
        "idle_host_three_handlers_mib": mib(idle),
        "host_before_cells_mib": mib(before),
        "host_with_cells_mib": mib(during),
        "cells": CELLS,
        "kib_per_live_cell": rounded(each, 1),
        "peers": peers,
    }))
}

fn mib(kib: u64) -> f64 {
    rounded(kib as f64 / 1024.0, 1)
}

async fn idle_host(server: &Server) -> anyhow::Result<u64> {
    let handler = |name: &str, grants: &str| -> anyhow::Result<String> {
        let source = guest(name)?;
        Ok(format!(
            "[queues.{name}]\nhandler = \"{name}\"\n[handlers.{name}]\nsource = {source:?}\n[handlers.{name}.grants]\n{grants}\n"
        ))
    };
    let http = r#"http = [{ url = "https://api.example.com" }]"#;
    let config = [
        format!("[redis]\nurl = \"{}\"\n[server]\nlisten = \"${{listen}}\"", server.url()),
        handler("media", &format!("blobs = [\"uploads\"]\n{http}"))?,
        handler("payment", &format!("cache = true\nsecrets = [\"key\"]\n{http}"))?,
        handler("notification", &format!("publish = [\"job_updates\"]\nsecrets = [\"key\"]\n{http}"))?,
        "[secrets]\nkey = { file = \"key.txt\" }\n[blobs.uploads]\nurl = \"memory://\"".to_owned(),
    ]
    .join("\n");
    let host =
        Running::jobcell(&config, &[("key.txt", "a key")]).await.context("the host with three handlers")?;
    // Once more with the compiled handlers from the disk, as every start but the first is.
    let host = host.restart().await?;
    sleep(SETTLE).await;
    let rss = host.rss_kib();
    host.stop().await?;
    Ok(rss)
}

async fn live_cells(server: &Server) -> anyhow::Result<(u64, u64)> {
    let mut connection = server.connect().await?;
    let concurrency = usize::try_from(CELLS)?;
    // Cells are live while they sleep; a first wave warms up whatever is made once.
    queue::fill(&mut connection, "noop", queue::PAYLOAD, 1_000).await?;
    queue::open(&mut connection).await?;
    let worker = Peer::Jobcell.start(&server.url(), concurrency).await?;
    queue::wait_completed(&mut connection, 1_000).await?;
    sleep(SETTLE).await;
    let before = worker.rss_kib();
    let script = queue::add_script();
    let mut call = script.prepare_invoke();
    call.key(queue::PREFIX).arg(CELLS).arg(queue::now_ms()).arg("sleep").arg(r#"{"ms":15000}"#);
    call.invoke_async::<String>(&mut connection).await?;
    queue::wait_active(&mut connection, CELLS).await?;
    sleep(SETTLE).await;
    let during = worker.rss_kib();
    worker.stop().await?;
    Ok((before, during))
}
