//! What nearly every handler needs, in one import: `use jobcell_sdk::prelude::*;`.

pub use crate::failure::{Failure, OrFatal};
pub use crate::job::{Header, Job};
pub use crate::payload::Raw;
pub use crate::{handler, plugin};
