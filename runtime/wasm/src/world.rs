//! The host's side of the WIT contract, generated from `wit/` at the root of the repository.
//!
//! Host functions take the whole [`crate::cell::Cell`]; each capability implements its own trait in
//! `capability/`. What a guest does wrong comes back to it as an `error` value: no import can trap.

wasmtime::component::bindgen!({
    path: "../../wit",
    world: "handler",
    // The job is only ever handed in, so it borrows from the attempt instead of copying every text of it.
    ownership: Borrowing { duplicate_if_necessary: true },
    imports: {
        "jobcell:job/context.children-values": async,
        "jobcell:job/context.children-failures": async,
        "jobcell:job/jobs": async,
        "jobcell:job/publish": async,
        "jobcell:job/cache": async,
        "jobcell:job/blobs": async,
    },
    exports: { default: async },
});
