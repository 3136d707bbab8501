//! The attribute elsewhere, and a plugin of nothing.

use jobcell_sdk::prelude::*;

#[handler]
struct Resize;

plugin!();

fn main() {}
