//! What goes wrong in production, and that nothing is lost by it.

mod bad_input;
mod connections;
mod crash;
mod failover;
mod lists;
mod names;
mod outage;
mod redis_away;
mod refused;
mod reload;
mod restarts;
mod shutdown;
mod start;
mod suspended;
