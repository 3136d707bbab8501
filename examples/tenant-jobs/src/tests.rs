//! The handler against a host in memory: where the row comes from, whose it may be, what is tried again.

use jobcell_sdk::http::{HttpError, Response};
use jobcell_sdk::prelude::*;
use jobcell_sdk::testing::{self, Host, JobBuilder};
use serde_json::{Value, json};

const ROW: &str = "http://api.test/internal/jobs/job-uuid-1";
const FILE: &str = "http://files.test/acme/orders.csv";

/// A host as jobcell.toml makes it.
fn host() -> Host {
    Host::new()
        .config("api", "http://api.test")
        .config("files", "http://files.test")
        .secret("internal-api", "the-token")
}

/// An id that was pushed without anything else.
fn pushed(id: &str) -> JobBuilder<Raw> {
    testing::bytes(id).id(id).name("job_queue")
}

fn row(tenant: &str, file: &str) -> Response {
    let body = json!({ "id": "job-uuid-1", "tenantId": tenant, "file": file, "status": "QUEUED" });
    Response { body: body.to_string().into_bytes(), ..Response::new(200) }
}

fn orders() -> Response {
    Response { body: b"customer,amount\nada,12.50\n".to_vec(), ..Response::new(200) }
}

fn result_of(host: &Host, job: JobBuilder<Raw>) -> Value {
    serde_json::from_slice(&host.dispatch(&super::PLUGIN, job).unwrap()).unwrap()
}

#[test]
fn a_bare_id_is_looked_up_with_the_token_and_the_file_without() {
    let host = host().respond(ROW, row("acme", "orders.csv")).respond(FILE, orders());
    let result = result_of(&host, pushed("job-uuid-1").tenant("acme"));
    let largest = json!({ "customer": "ada", "cents": 1250 });
    assert_eq!(result, json!({ "orders": 1, "customers": 1, "totalCents": 1250, "largest": largest }));
    let asked = host.requests();
    let tokens: Vec<_> = asked.iter().map(|request| request.header_value("authorization")).collect();
    assert_eq!(tokens, [Some("Bearer the-token"), None]);
}

#[test]
fn a_row_in_the_record_asks_the_api_for_nothing() {
    let host = host().respond(FILE, orders());
    let data = json!({ "tenantId": "acme", "file": "orders.csv" });
    let result = result_of(&host, testing::json(&data).id("job-uuid-1").tenant("acme"));
    assert_eq!((&result["orders"], host.requests().len()), (&json!(1), 1));
}

#[test]
fn an_envelope_without_data_is_looked_up_too() {
    for nothing in ["null", ""] {
        let host = host().respond(ROW, row("acme", "orders.csv")).respond(FILE, orders());
        assert_eq!(result_of(&host, testing::bytes(nothing).id("job-uuid-1"))["orders"], 1);
    }
}

#[test]
fn a_row_of_another_tenant_is_not_worked() {
    let host = host().respond(ROW, row("globex", "orders.csv"));
    let failure = host.run(super::totals, pushed("job-uuid-1").tenant("acme")).unwrap_err();
    let Failure::Fatal(reason) = failure else { panic!("{failure}") };
    assert!(reason.contains("\"acme\"") && reason.contains("\"globex\""), "{reason}");
    assert_eq!(host.requests().len(), 1, "its file was not read");
}

#[test]
fn what_would_lead_a_url_elsewhere_is_refused_before_anybody_is_asked() {
    for id in ["../users", "a/b", "a?b", "a%2fb", "..", "é", &"x".repeat(129)] {
        let host = host();
        assert!(matches!(host.run(super::totals, pushed(id)), Err(Failure::Invalid(_))), "{id}");
        assert!(host.requests().is_empty(), "{id}");
    }
    for (tenant, file) in [("../acme", "a.csv"), ("acme", "../globex/a.csv"), ("", "a.csv"), ("acme", ".env")]
    {
        let host = host().respond(ROW, row(tenant, file));
        assert!(matches!(host.run(super::totals, pushed("job-uuid-1")), Err(Failure::Invalid(_))), "{file}");
    }
}

#[test]
fn services_that_are_away_are_asked_again_and_a_row_that_is_gone_is_not() {
    let ended = |row: Response, file: Response| {
        host().respond(ROW, row).respond(FILE, file).run(super::totals, pushed("job-uuid-1")).unwrap_err()
    };
    for status in [408, 429, 500, 502, 503] {
        assert!(matches!(ended(Response::new(status), orders()), Failure::Retry(_)), "{status}");
        let failure = ended(row("acme", "orders.csv"), Response::new(status));
        let expected = format!("retry: the file acme/orders.csv was answered with {status}");
        assert_eq!(failure.to_string(), expected);
    }
    for status in [401, 403, 404, 410] {
        assert!(matches!(ended(Response::new(status), orders()), Failure::Fatal(_)), "{status}");
    }
    let cut = host().fail(ROW, HttpError::Timeout);
    assert!(matches!(cut.run(super::totals, pushed("job-uuid-1")), Err(Failure::Retry(_))));
}

#[test]
fn a_setting_that_is_missing_is_named() {
    let failure = Host::new().run(super::totals, pushed("job-uuid-1")).unwrap_err();
    assert!(
        failure.to_string().contains("\"api\"") && failure.to_string().contains("grants.config"),
        "{failure}"
    );
}
