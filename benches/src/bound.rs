//! The bound: one lean script with the effects of a job's cycle, driven with nothing around it.

use anyhow::Context;
use redis::Script;
use redis::aio::MultiplexedConnection;
use tokio::task::JoinSet;

use crate::queue;

const CYCLE: &str = include_str!("../scripts/cycle.lua");

/// Works the queue off with so many calls in flight on one connection.
pub(crate) async fn work(connection: &MultiplexedConnection, in_flight: usize) -> anyhow::Result<()> {
    let mut slots = JoinSet::new();
    for slot in 0..in_flight {
        slots.spawn(cycle(connection.clone(), format!("bound:{slot}")));
    }
    while let Some(slot) = slots.join_next().await {
        slot.context("a slot of the bound")??;
    }
    Ok(())
}

async fn cycle(mut connection: MultiplexedConnection, token: String) -> anyhow::Result<()> {
    let script = Script::new(CYCLE);
    let mut done = (String::new(), String::new());
    loop {
        let mut call = script.prepare_invoke();
        call.key(queue::PREFIX).arg(&token).arg(queue::now_ms()).arg(&done.0).arg(&done.1);
        let next: Option<(String, String, String)> = call.invoke_async(&mut connection).await?;
        let Some((id, _name, _data)) = next else { return Ok(()) };
        let result = format!(r#"{{"ok":true,"i":{id}}}"#);
        done = (id, result);
    }
}
