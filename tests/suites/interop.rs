//! The real BullMQ on the other side, in every client that is tested.
//!
//! Files with a table of cases run each of them for each client that has the feature; `rig` is what they run on. What
//! they show becomes the parity table of `docs/bullmq.md`.

mod adding;
mod administration;
mod board;
mod cron;
mod deduplication;
mod differential;
mod events;
mod failing;
mod flows;
mod getters;
mod interference;
mod keeping;
mod languages;
mod limits;
mod mixed;
mod pause;
mod results;
mod rig;
mod schedulers;
mod telemetry;
mod workers;
