//! The main job: something is enqueued, runs in a cell, and its result can be read.

mod capabilities;
mod commands;
mod deployment;
mod embedding;
mod endpoints;
mod flows;
mod handlers;
mod lists;
mod outcomes;
mod queues;
mod refusals;
mod schedules;
