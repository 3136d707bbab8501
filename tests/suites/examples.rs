//! The examples: each tells its story as its README's command does, over a Redis and services of its own, and checks
//! it step by step.

use jobcell_tests::tells;

#[test]
fn donations() {
    tells("donations", 35);
}

#[test]
fn campaigns() {
    tells("campaigns", 28);
}

#[test]
fn content_backend() {
    tells("content-backend", 47);
}

#[test]
fn tenant_jobs() {
    tells("tenant-jobs", 53);
}

#[test]
fn studio() {
    tells("studio", 41);
}
