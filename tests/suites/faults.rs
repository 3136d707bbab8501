//! What goes wrong in production, and that nothing is lost by it.

mod crash;
mod redis_away;
mod reload;
mod shutdown;
mod start;
