//! The main job: something is enqueued, runs in a cell, and its result can be read.

mod commands;
mod embedding;
mod endpoints;
mod handlers;
mod outcomes;
mod refusals;
