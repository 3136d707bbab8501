//! The job store in the layout that BullMQ's clients read and write.
//!
//! Words on the wire are BullMQ's (`wait`, `returnvalue`, `atm`); they are translated to the port's here and nowhere
//! else. Every change is one script (`lua/`), because other clients run theirs at the same time and rely on it.

mod add;
mod admin;
mod bulk;
mod cancel;
mod claim;
pub(crate) mod events;
mod finish;
mod flow;
mod iterate;
mod limits;
pub(crate) mod needs;
mod overview;
mod read;
pub(crate) mod record;
mod schedulers;
mod store;
mod unanswered;
mod waiter;

pub(crate) use claim::ms;
pub use store::{BullStore, StoreOptions};
