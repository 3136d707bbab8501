//! A guest that uses every capability of the WIT and HTTP, one handler each: what the operator grants decides which
//! of them answer.
//!
//! It imports all of them, so it is also what a test takes to see an ungranted import refused at load.

mod kept;
mod leak;
mod raw;
mod state;
mod world;

jobcell_sdk::plugin!(
    state::cache,
    state::seen,
    state::hold,
    state::blob,
    state::blob_list,
    kept::kv,
    world::publish,
    world::enqueue,
    world::family,
    world::secret,
    world::reveal,
    world::fetch,
    raw::raw,
    leak::leak,
);
