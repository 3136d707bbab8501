//! Handlers that change while the queue runs: versions, swaps, canaries, rollbacks, quarantine.

mod baseline;
mod canary;
mod files;
mod fleet;
mod full;
mod guest;
mod memory;
mod pinned;
mod quarantine;
mod registry;
mod stacks;
mod trust;
