//! What a handler sent out during a test.

use crate::jobs::Options;

/// A job that the handler enqueued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enqueued {
    /// The id that the handler was given.
    pub id: String,
    /// Where it went.
    pub queue: String,
    /// Its name.
    pub name: String,
    /// Its payload: JSON text.
    pub data: Vec<u8>,
    /// With these options.
    pub options: Options,
    /// Was it enqueued as a child of the running job?
    pub child: bool,
}
