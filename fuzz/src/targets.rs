//! The targets, by what they are about.

pub mod address;
pub mod admission;
pub mod config;
pub mod guest;
pub mod handler;
pub mod http_rule;
pub mod producer;
