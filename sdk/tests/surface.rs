//! Handlers as their author sees them: plain functions, collected in a plugin that dispatches by name.

use std::collections::BTreeMap;

use jobcell_sdk::prelude::*;
use jobcell_sdk::testing::{self, Host};
use serde::{Deserialize, Serialize};
use serde_json::json;

#[derive(Debug, Deserialize)]
struct Resize {
    presets: Vec<Preset>,
}

#[derive(Debug, Deserialize)]
struct Preset {
    width: u32,
}

#[derive(Debug, PartialEq, Serialize)]
struct Thumbnails {
    widths: Vec<u32>,
}

#[handler]
fn make_thumbnails(job: Job<Resize>) -> Result<Thumbnails, Failure> {
    Ok(Thumbnails { widths: job.data.presets.iter().map(|preset| preset.width).collect() })
}

#[handler(name = "echo")]
fn repeat(job: Job<Raw>) -> Result<Raw, Failure> {
    Ok(job.data)
}

#[handler]
fn nothing(_job: Job<()>) -> Result<(), Failure> {
    Ok(())
}

/// A function of the same name as the macro's own argument.
#[handler]
fn job(job: Job<Option<u8>>) -> Result<Option<u8>, Failure> {
    Ok(job.data)
}

#[handler]
fn unwritable(_job: Job<Raw>) -> Result<BTreeMap<(u8, u8), u8>, Failure> {
    Ok(BTreeMap::from([((1, 2), 3)]))
}

mod nested {
    use super::*;

    #[handler]
    pub(super) fn r#move(job: Job<u64>) -> Result<u64, Failure> {
        Ok(job.data + 1)
    }
}

plugin!(make_thumbnails, repeat, nothing, job, unwritable, nested::r#move);

mod with_any {
    use super::*;

    #[handler(any)]
    fn rest(job: Job<Raw>) -> Result<String, Failure> {
        Ok(format!("any: {}", job.name))
    }

    plugin!(rest, nothing);
}

fn dispatch(name: &str, payload: &[u8]) -> Result<Vec<u8>, Failure> {
    Host::new().dispatch(&PLUGIN, testing::bytes(payload).name(name))
}

#[test]
fn a_handler_is_still_a_plain_function() {
    let job = testing::job(Resize { presets: vec![Preset { width: 320 }] });
    assert_eq!(Host::new().run(make_thumbnails, job), Ok(Thumbnails { widths: vec![320] }));
}

#[test]
fn the_plugin_picks_the_handler_by_the_exact_name() {
    let payload = json!({"presets": [{"width": 1}, {"width": 2}]});
    let job = testing::json(&payload).name("make-thumbnails");
    assert_eq!(Host::new().dispatch(&PLUGIN, job), Ok(br#"{"widths":[1,2]}"#.to_vec()));
    assert_eq!(dispatch("move", b"41"), Ok(b"42".to_vec()));
    assert!(matches!(dispatch("Move", b"41"), Err(Failure::Invalid(_))));
}

#[test]
fn raw_bytes_pass_untouched() {
    assert_eq!(dispatch("echo", b"\xff\x00 {"), Ok(b"\xff\x00 {".to_vec()));
}

#[test]
fn null_results_and_payloads_are_no_bytes() {
    assert_eq!(dispatch("nothing", b""), Ok(Vec::new()));
    assert_eq!(dispatch("nothing", b"null"), Ok(Vec::new()));
    assert_eq!(dispatch("job", b""), Ok(Vec::new()));
    assert_eq!(dispatch("job", b"7"), Ok(b"7".to_vec()));
}

#[test]
fn an_unknown_name_lists_what_there_is() {
    assert_eq!(
        dispatch("resize", b"{}"),
        Err(Failure::invalid(
            "no handler takes jobs named `resize`; this plugin has `make-thumbnails`, `echo`, `nothing`, `job`, \
             `unwritable`, `move`"
        ))
    );
}

#[test]
fn any_takes_the_names_that_no_other_handler_has() {
    let host = Host::new();
    let any = testing::bytes(*b"x").name("what-ever");
    assert_eq!(host.dispatch(&with_any::PLUGIN, any), Ok(br#""any: what-ever""#.to_vec()));
    assert_eq!(host.dispatch(&with_any::PLUGIN, testing::bytes(*b"").name("nothing")), Ok(Vec::new()));
}

#[test]
fn a_faulty_payload_names_the_path_and_the_position() {
    let faults = [
        (
            &br#"{"presets":[{"width":1},{"width":"x"}]}"#[..],
            r#"payload: presets[1].width: invalid type: string "x", expected u32 at line 1 column 36"#,
        ),
        (br#"{"presets":[{}]}"#, "payload: presets[0]: missing field `width` at line 1 column 14"),
        (b"{}", "payload: missing field `presets` at line 1 column 2"),
        (b"7", "payload: invalid type: integer `7`, expected struct Resize at line 1 column 1"),
        (b"", "payload: invalid type: null, expected struct Resize at line 1 column 4"),
        (br#"{"presets":[]} x"#, "payload: trailing characters at line 1 column 16"),
        (br#"{"presets":[{"#, "payload: presets[0]: EOF while parsing an object at line 1 column 13"),
        (b"\xff\xfe", "payload: expected value at line 1 column 1"),
    ];
    for (payload, text) in faults {
        assert_eq!(dispatch("make-thumbnails", payload), Err(Failure::invalid(text)));
    }
}

#[test]
fn a_result_without_a_json_form_is_fatal() {
    assert_eq!(dispatch("unwritable", b""), Err(Failure::fatal("result: key must be a string")));
}

#[test]
fn what_depends_on_the_clock_is_filled_in_when_the_job_is_run() {
    let host = Host::new().at(1_700_000_000_000);
    let show = |job: Job<Raw>| Ok((job.enqueued_at, job.deadline, job.idempotency_key, job.starts));
    let shown = host.run(show, testing::bytes(*b"").id("7").queue("q").attempt(2));
    assert_eq!(shown, Ok((1_700_000_000_000, 1_700_000_030_000, "test:q:7".to_owned(), 2)));
}

#[test]
fn a_job_knows_its_headers_and_its_last_attempt() {
    let look = |job: Job<Raw>| Ok((job.header("TraceParent").map(str::to_owned), job.is_last_attempt()));
    let job = || testing::bytes(*b"").header("traceparent", "00-1").max_attempts(2);
    assert_eq!(Host::new().run(look, job()), Ok((Some("00-1".to_owned()), false)));
    assert_eq!(Host::new().run(look, job().attempt(2)), Ok((Some("00-1".to_owned()), true)));
}
