//! The behaviour every store must have.
#![expect(clippy::unwrap_used, reason = "a test: what fails is the report")]

use std::sync::Arc;

use jobcell_core::conformance::Fixture;
use jobcell_core::conformance::keyvalue::KeyValueFixture;
use jobcell_core::conformance::series::POINTS;
use jobcell_core::store::SeriesPoints;
use jobcell_embedded::{EmbeddedOptions, EmbeddedStore, PREFIX};

async fn fresh() -> Fixture {
    let directory = tempfile::tempdir().unwrap();
    let options = EmbeddedOptions { series: SeriesPoints::all(POINTS), ..EmbeddedOptions::default() };
    let store = EmbeddedStore::open(directory.path(), options).unwrap();
    Fixture::new(Arc::new(store), PREFIX, directory)
}

jobcell_core::store_conformance!(fresh);

async fn fresh_keyvalue() -> KeyValueFixture {
    let directory = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(directory.path(), EmbeddedOptions::default()).unwrap();
    KeyValueFixture { store: Arc::new(store.keyvalue()), guard: Box::new(directory) }
}

jobcell_core::keyvalue_conformance!(fresh_keyvalue);
