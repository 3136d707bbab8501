//! What can be typed about hosts, and to watch them.

use std::time::Duration;

use clap::{Args, Subcommand};

use crate::cli::values;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum HostCommand {
    /// List the hosts that live, and what each does
    Ls,
    /// Tell hosts to take no new jobs, and wait until they take none
    Quiet(ChosenHosts),
    /// Tell hosts to take jobs again
    Unquiet(ChosenHosts),
    /// Tell hosts to finish what they run and to end, and wait until they have
    Stop(ChosenHosts),
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ChosenHosts {
    /// Hosts by id, by the beginning of one, or by the name of their machine
    #[arg(value_name = "HOST", required_unless_present = "all", conflicts_with = "all")]
    pub(in crate::cli) hosts: Vec<String>,
    /// Every host
    #[arg(long)]
    pub(in crate::cli) all: bool,
    /// Wait so long for them; 0s does not wait
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = values::delay)]
    pub(in crate::cli) timeout: Duration,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct WatchArgs {
    /// How long rates are measured, and between two looks: 200ms to 1m
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = values::delay)]
    pub(in crate::cli) interval: Duration,
}
