//! The promises of the port, as the core's suite checks them for every store.

use std::sync::Arc;

use jobcell_core::conformance::Fixture;

use crate::server::Server;

async fn fresh() -> Fixture {
    let server = Server::start();
    Fixture::new(Arc::new(server.store().await), "bull", server)
}

jobcell_core::store_conformance!(fresh);
