//! The main job: something is enqueued, runs in a cell, and its result can be read.

mod api;
mod cancel;
mod capabilities;
mod commands;
mod deployment;
mod embedding;
mod endpoints;
mod flows;
mod handlers;
mod https;
mod lists;
mod outcomes;
mod poison;
mod queues;
mod receipts;
mod refusals;
mod replays;
mod results;
mod schedules;
