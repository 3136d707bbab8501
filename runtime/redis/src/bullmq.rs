//! The job store in the layout that BullMQ's clients read and write.
//!
//! Words on the wire are BullMQ's (`wait`, `returnvalue`, `atm`); they are translated to the port's here and nowhere
//! else. Every change is one script (`lua/`), because other clients run theirs at the same time and rely on it.

mod add;
mod admin;
mod claim;
mod events;
mod finish;
mod health;
mod read;
mod record;
mod store;
mod unanswered;
mod waiter;

pub use store::{BullStore, StoreOptions};
