//! The promises of the port, as the core's suite checks them for every store.

use std::sync::Arc;

use jobcell_core::conformance::Fixture;
use jobcell_core::conformance::series::POINTS;
use jobcell_core::store::SeriesPoints;
use jobcell_redis::{BullStore, ConnectOptions, Redis, StoreOptions};

use crate::acl::advised;
use crate::server::Server;

async fn fresh() -> Fixture {
    let server = Server::start();
    // With no more rights than the faults about missing ones tell to give: this proves that they are enough.
    let url = advised(&server).await;
    let redis = Redis::connect(ConnectOptions::from_url(&url).unwrap()).await.unwrap();
    let store = BullStore::new(redis, StoreOptions { series: SeriesPoints::all(POINTS) });
    Fixture::new(Arc::new(store), "bull", server)
}

jobcell_core::store_conformance!(fresh);
