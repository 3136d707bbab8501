//! The job store for queues that are plain lists: producers `LPUSH`, listeners `SUBSCRIBE`, and that is all they know.
//!
//! With `<key>` the list, and everything else beside it:
//!
//! | key | holds |
//! |---|---|
//! | `<key>` | items that wait; pushed on the left, claimed from the right |
//! | `<key>:processing:<host>` | items that a host runs |
//! | `<key>:heartbeat:<host>` | there while the host holds at least one lock |
//! | `<key>:locks:<host>`, `<key>:claims:<host>` | until when each of them is held, and for which job |
//! | `<key>:hosts` | hosts that may hold something, so that nobody scans for them |
//! | `<key>:delayed`, `<key>:delayed:copies` | items by due time; how many more of the same there are |
//! | `<key>:dead` | items whose attempts are used up, newest on the left |
//! | `<key>:running`, `<key>:twins:<record>` | which records run now; items of a job that runs already |
//! | `<key>:paused`, `<key>:rest`, `<key>:limiter` | why nothing is given out |
//! | `<key>:events` | the last thousand or so events, for whoever waits for a job |
//! | the record, `<record>:logs` | what is known of a job |
//!
//! An item is at every moment in exactly one of the first kind of places, or two while it is moved inside one script;
//! `claims` only say what it is held for. So it cannot be lost, and as each finish needs its token, which is different for every
//! claim, no attempt ends twice. Locks go by Redis's clock: hosts whose clocks differ agree on who has vanished.

mod add;
mod admin;
mod cancel;
mod claim;
mod finish;
pub(crate) mod item;
mod keys;
mod look;
pub(crate) mod needs;
mod options;
mod record;
mod script;
mod store;
mod waiter;

pub use options::ListOptions;
pub use store::ListStore;
