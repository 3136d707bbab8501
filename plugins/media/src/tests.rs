//! The handlers as a queue sees them: payload in, blobs and result out, against the in-memory host.

use std::time::Duration;

use jobcell_sdk::http::{HttpError, Response};
use jobcell_sdk::prelude::Failure;
use jobcell_sdk::testing::{self, Host};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::PLUGIN;
use crate::decode::decode;
use crate::fixture;
use crate::format::Format;
use crate::limits::Limits;
use crate::orient::Orientation;
use crate::picture::Picture;
use crate::probe::{Probe, probe};
use crate::report::{Processed, SourceReport};

const STORE: &str = "uploads";
const URL: &str = "https://cdn.example.com/a.jpg?token=secret";

/// Runs a job by name with a JSON payload, as the component would.
fn run(host: &Host, name: &str, payload: &Value) -> Result<Value, Failure> {
    let result = host.dispatch(&PLUGIN, testing::json(payload).name(name))?;
    Ok(serde_json::from_slice(&result).unwrap())
}

fn processed(host: &Host, name: &str, payload: &Value) -> Processed {
    let result = run(host, name, payload);
    serde_json::from_value(result.unwrap_or_else(|failure| panic!("{payload}: {failure}"))).unwrap()
}

fn stored(file: impl Into<Vec<u8>>) -> Host {
    Host::new().blob(STORE, "in/a", file)
}

fn payload(outputs: &Value) -> Value {
    json!({
        "source": {"blob": {"store": STORE, "key": "in/a"}},
        "destination": {"store": STORE, "prefix": "out/"},
        "outputs": outputs,
    })
}

fn seen(host: &Host, key: &str) -> (Probe, Picture) {
    let file = host.blob_bytes(STORE, key).unwrap_or_else(|| panic!("no blob {key}"));
    let probe = probe(&file, &Limits::default()).unwrap();
    let picture = decode(file, &probe).unwrap();
    (probe, picture)
}

fn pixel(picture: &Picture, x: u32, y: u32) -> [u8; 3] {
    let at = ((y * picture.width() + x) * 3) as usize;
    picture.bytes()[at..at + 3].try_into().unwrap()
}

fn near(found: [u8; 3], wanted: [u8; 3]) -> bool {
    found.iter().zip(wanted).all(|(a, b)| a.abs_diff(b) < 24)
}

#[test]
fn one_photograph_becomes_every_output_that_is_asked_for() {
    let host = stored(crate::sample::photo());
    let outputs = json!([
        {"name": "hero", "fit": "cover", "width": 600, "height": 315, "quality": 80},
        {"name": "card", "fit": "contain", "width": 300, "height": 300, "format": "webp"},
        {"name": "list", "fit": "width", "width": 120, "format": "png"},
        {"name": "clean", "format": "source", "quality": 90},
    ]);
    let result = processed(&host, "process", &payload(&outputs));
    assert_eq!((result.source.width, result.source.height, result.source.orientation), (1067, 1600, 6));
    let facts: Vec<_> = result
        .outputs
        .iter()
        .map(|out| (out.key.as_str(), out.width, out.height, out.content_type.as_str()))
        .collect();
    assert_eq!(
        facts,
        [
            ("out/hero.jpg", 600, 315, "image/jpeg"),
            ("out/card.webp", 200, 300, "image/webp"),
            ("out/list.png", 120, 180, "image/png"),
            ("out/clean.jpg", 1067, 1600, "image/jpeg"),
        ]
    );
    for out in &result.outputs {
        let file = host.blob_bytes(STORE, &out.key).unwrap();
        assert_eq!(out.bytes, file.len() as u64);
        assert_eq!(out.sha256, hex::encode(Sha256::digest(&file)));
        assert_eq!(host.blob_type(STORE, &out.key).as_deref(), Some(out.content_type.as_str()));
        assert!(!file.windows(14).any(|window| window == b"Jobcell Camera"), "{} has metadata", out.key);
        let (probe, _) = seen(&host, &out.key);
        assert_eq!((probe.width, probe.height), (out.width, out.height));
        assert_eq!(probe.orientation, Orientation::Upright);
    }
    assert_eq!(host.progress().last(), Some(&json!({"done": 4, "total": 4})));
}

#[test]
fn all_eight_orientations_come_out_upright_scaled_and_unscaled() {
    for orientation in Orientation::ALL {
        let host = stored(fixture::quarters_held(orientation, 96, 64));
        let outputs = json!([
            {"name": "whole", "quality": 95},
            {"name": "small", "fit": "width", "width": 48, "format": "png"},
            {"name": "square", "fit": "cover", "width": 32, "height": 32, "format": "webp"},
        ]);
        let result = processed(&host, "process", &payload(&outputs));
        assert_eq!(result.source.orientation, orientation as u8);
        for out in &result.outputs {
            let (_, picture) = seen(&host, &out.key);
            let (w, h) = (picture.width(), picture.height());
            assert_eq!((w, h), (out.width, out.height));
            let corners = [(w / 4, h / 4), (w * 3 / 4, h / 4), (w / 4, h * 3 / 4), (w * 3 / 4, h * 3 / 4)];
            let wanted = [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]];
            for ((x, y), wanted) in corners.into_iter().zip(wanted) {
                let found = pixel(&picture, x, y);
                assert!(near(found, wanted), "{orientation:?} {}: {found:?} at {x},{y}", out.name);
            }
        }
        assert_eq!((result.outputs[0].width, result.outputs[0].height), (96, 64));
    }
}

#[test]
fn thumbnails_have_sensible_defaults_and_never_enlarge() {
    let host = stored(fixture::still(Format::Png, 400, 200));
    let payload = json!({
        "source": {"blob": {"store": STORE, "key": "in/a"}},
        "destination": {"store": STORE, "prefix": "t/"},
    });
    let result = processed(&host, "thumbnails", &payload);
    let facts: Vec<_> = result.outputs.iter().map(|out| (out.key.as_str(), out.width, out.height)).collect();
    assert_eq!(facts, [("t/w160.jpg", 160, 80), ("t/w320.jpg", 320, 160), ("t/w640.jpg", 400, 200)]);
}

#[test]
fn upscaling_is_done_only_when_asked_for() {
    let host = stored(fixture::still(Format::Png, 40, 20));
    let outputs = json!([
        {"name": "up", "fit": "width", "width": 80, "upscale": true},
        {"name": "stay", "fit": "cover", "width": 100, "height": 100},
    ]);
    let result = processed(&host, "process", &payload(&outputs));
    assert_eq!((result.outputs[0].width, result.outputs[0].height), (80, 40));
    assert_eq!((result.outputs[1].width, result.outputs[1].height), (20, 20));
}

#[test]
fn inspect_reports_and_writes_nothing() {
    let host = stored(fixture::animated_gif(30, 20, 4));
    let payload = json!({"source": {"blob": {"store": STORE, "key": "in/a"}}});
    let report: SourceReport = serde_json::from_value(run(&host, "inspect", &payload).unwrap()).unwrap();
    assert_eq!((report.format, report.width, report.height), (Format::Gif, 30, 20));
    assert_eq!((report.animated, report.frames, report.alpha, report.orientation), (true, 4, false, 1));
    assert_eq!(host.blob_keys(STORE), ["in/a"]);

    let host = stored(fixture::jpeg_held(Orientation::Rotate270, 30, 20));
    let report = run(&host, "inspect", &payload).unwrap();
    assert_eq!(
        (&report["width"], &report["height"], &report["orientation"]),
        (&json!(20), &json!(30), &json!(8))
    );
}

#[test]
fn an_animated_gif_is_kept_or_stilled_as_asked() {
    let host = stored(fixture::animated_gif(30, 20, 4));
    let outputs = json!([
        {"name": "kept", "animation": "keep"},
        {"name": "still", "fit": "width", "width": 15},
        {"name": "jpeg", "format": "jpeg"},
    ]);
    let result = processed(&host, "process", &payload(&outputs));
    let [kept, still, jpeg] = result.outputs.as_slice() else { panic!("{result:?}") };
    assert!(kept.animated && !still.animated && !jpeg.animated);
    assert_eq!((seen(&host, &kept.key).0.frames, seen(&host, &still.key).0.frames), (4, 1));
    assert_eq!((kept.width, still.width, jpeg.width), (30, 15, 30));
    let file = host.blob_bytes(STORE, &kept.key).unwrap();
    assert!(!file.windows(11).any(|window| window == b"Main Street"));

    // Nothing to keep: a still picture is written as one.
    let host = stored(fixture::still(Format::Gif, 8, 8));
    let result = processed(&host, "process", &payload(&json!([{"name": "a", "animation": "keep"}])));
    assert!(!result.outputs[0].animated);
    // An animation that cannot be kept is not quietly stilled.
    let host = stored(fixture::animated_webp(8, 8, 2));
    let refused = run(&host, "process", &payload(&json!([{"name": "a", "animation": "keep"}])));
    assert!(matches!(&refused, Err(Failure::Fatal(text)) if text.contains("animation")), "{refused:?}");
}

#[test]
fn transparency_meets_its_background_only_where_it_must() {
    let host = stored(fixture::translucent_png(32, 32));
    let outputs = json!([
        {"name": "white", "format": "jpeg", "quality": 95},
        {"name": "blue", "format": "jpeg", "quality": 95, "background": "#0000ff", "fit": "width", "width": 16},
        {"name": "kept", "format": "webp"},
        {"name": "small", "format": "png", "fit": "width", "width": 16},
    ]);
    processed(&host, "process", &payload(&outputs));
    let (_, white) = seen(&host, "out/white.jpg");
    assert!(near(pixel(&white, 5, 16), [255, 127, 127]), "{:?}", pixel(&white, 5, 16));
    assert!(near(pixel(&white, 28, 16), [255, 255, 255]));
    let (_, blue) = seen(&host, "out/blue.jpg");
    assert!(near(pixel(&blue, 2, 8), [128, 0, 127]), "{:?}", pixel(&blue, 2, 8));
    assert!(near(pixel(&blue, 14, 8), [0, 0, 255]), "{:?}", pixel(&blue, 14, 8));
    let (_, kept) = seen(&host, "out/kept.webp");
    assert_eq!(&kept.bytes()[..4], [255, 0, 0, 128]);
    let (_, small) = seen(&host, "out/small.png");
    assert_eq!(&small.bytes()[..4], [255, 0, 0, 128], "resizing keeps colour and opacity apart");
}

#[test]
fn a_second_run_writes_the_same_keys_and_bytes() {
    let outputs = json!([
        {"name": "a", "fit": "width", "width": 200},
        {"name": "b", "fit": "cover", "width": 90, "height": 90, "format": "gif"},
        {"name": "c", "fit": "contain", "width": 90, "height": 90, "format": "webp"},
        {"name": "d", "fit": "width", "width": 77, "format": "png"},
    ]);
    let host = stored(crate::sample::photo());
    let first = processed(&host, "process", &payload(&outputs));
    let keys = host.blob_keys(STORE);
    assert_eq!(processed(&host, "process", &payload(&outputs)), first);
    assert_eq!(host.blob_keys(STORE), keys);
}

#[test]
fn bombs_are_refused_by_what_they_declare() {
    let png = fixture::png_chunks(&[
        (b"IHDR", &[0, 0, 0x30, 0, 0, 0, 0x30, 0, 8, 6, 0, 0, 0]),
        (b"IDAT", &[0; 64]),
        (b"IEND", &[]),
    ]);
    let refused = run(
        &stored(png),
        "thumbnails",
        &json!({
            "source": {"blob": {"store": STORE, "key": "in/a"}},
            "destination": {"store": STORE},
        }),
    );
    assert!(
        matches!(&refused, Err(Failure::Fatal(text)) if text.contains("12288×12288") && text.contains("25000000")),
        "{refused:?}"
    );
    // 24 megapixels with transparency pass the pixel limit and would not fit into a cell.
    let png = fixture::png_chunks(&[
        (b"IHDR", &[0, 0, 0x17, 0x70, 0, 0, 0x0f, 0xa0, 8, 6, 0, 0, 0]),
        (b"IDAT", &[0; 64]),
        (b"IEND", &[]),
    ]);
    let refused = run(&stored(png), "process", &payload(&json!([{"name": "a", "format": "webp"}])));
    assert!(matches!(&refused, Err(Failure::Fatal(text)) if text.contains("memory")), "{refused:?}");
}

#[test]
fn a_job_may_lower_its_limits() {
    let mut asked = payload(&json!([{"name": "a"}]));
    for (limits, word) in
        [(json!({"pixels": 1199}), "1199"), (json!({"side": 39}), "39"), (json!({"bytes": 10}), "10")]
    {
        asked["limits"] = limits;
        let refused = run(&stored(fixture::still(Format::Png, 40, 30)), "process", &asked);
        assert!(matches!(&refused, Err(Failure::Fatal(text)) if text.contains(word)), "{refused:?}");
    }
    asked["limits"] = json!({"frames": 3});
    let refused = run(&stored(fixture::animated_gif(9, 9, 4)), "process", &asked);
    assert!(matches!(&refused, Err(Failure::Fatal(text)) if text.contains("4 frames")), "{refused:?}");
    asked["limits"] = json!({"pixels": 26_000_000});
    let refused = run(&stored(fixture::still(Format::Png, 4, 3)), "process", &asked);
    assert!(matches!(&refused, Err(Failure::Invalid(text)) if text.contains("limits.pixels")), "{refused:?}");
}

#[test]
fn bad_files_are_fatal_and_say_what_is_wrong() {
    let mut cut = fixture::still(Format::Jpeg, 64, 64);
    cut.truncate(cut.len() / 2);
    let mut damaged = fixture::still(Format::Png, 64, 64);
    let middle = damaged.len() / 2;
    damaged[middle] ^= 0xff;
    for (file, word) in [
        (b"<html>no picture</html>".to_vec(), "unknown image format"),
        (Vec::new(), "unknown image format"),
        (cut, "cut off"),
        (damaged, "damaged"),
    ] {
        let refused = run(&stored(file), "process", &payload(&json!([{"name": "a"}])));
        assert!(matches!(&refused, Err(Failure::Fatal(text)) if text.contains(word)), "{word}: {refused:?}");
    }
}

#[test]
fn payload_faults_are_invalid_and_cost_nothing() {
    let fine = payload(&json!([{"name": "a"}]));
    let mut unknown = fine.clone();
    unknown["outputs"][0]["widht"] = json!(5);
    let mut plain_http = fine.clone();
    plain_http["source"] = json!({"url": "http://cdn.example.com/a.jpg"});
    let mut overwrite = fine.clone();
    overwrite["source"]["blob"]["key"] = json!("out/a.png");
    for (payload, word) in [
        (unknown, "widht"),
        (plain_http, "https"),
        (overwrite, "overwrite"),
        (payload(&json!([])), "outputs"),
        (json!({"source": {"ftp": "x"}}), "ftp"),
    ] {
        let host = stored(fixture::still(Format::Png, 4, 4));
        let refused = run(&host, "process", &payload);
        assert!(
            matches!(&refused, Err(Failure::Invalid(text)) if text.contains(word)),
            "{word}: {refused:?}"
        );
        assert_eq!(host.blob_keys(STORE), ["in/a"]);
    }
    let refused = run(&Host::new(), "rotate", &fine);
    assert!(matches!(&refused, Err(Failure::Invalid(text)) if text.contains("thumbnails")), "{refused:?}");
}

/// A host where the picture is on the web.
fn on_the_web(response: Response) -> (Host, Value) {
    let mut payload = payload(&json!([{"name": "a", "fit": "width", "width": 10}]));
    payload["source"] = json!({"url": URL});
    (Host::new().store(STORE).at(784_111_767_000).respond(URL, response), payload)
}

#[test]
fn a_picture_is_fetched_over_https() {
    let file = fixture::still(Format::Jpeg, 40, 20);
    let (host, payload) =
        on_the_web(Response::new(200).with_header("content-type", "image/jpeg").with_body(file));
    let result = processed(&host, "process", &payload);
    assert_eq!((result.outputs[0].width, result.outputs[0].height), (10, 5));
    let requests = host.requests();
    assert_eq!(requests.len(), 1);
    assert!(requests[0].header_value("accept").unwrap().contains("image/webp"));
}

#[test]
fn declared_types_must_match_unless_the_job_says_to_sniff() {
    let file = fixture::still(Format::Png, 40, 20);
    let response = Response::new(200).with_header("content-type", "image/jpeg").with_body(file);
    let (host, mut payload) = on_the_web(response);
    let refused = run(&host, "process", &payload);
    assert!(matches!(&refused, Err(Failure::Fatal(text)) if text.contains("image/png")), "{refused:?}");
    payload["sniff"] = json!(true);
    assert_eq!(processed(&host, "process", &payload).outputs[0].key, "out/a.png");
}

#[test]
fn statuses_decide_between_retry_and_giving_up() {
    let after = |status, value: &str| Response::new(status).with_header("retry-after", value);
    for (response, wanted) in [
        (Response::new(404), "fatal"),
        (Response::new(410), "fatal"),
        (Response::new(403), "fatal"),
        (Response::new(206), "fatal"),
        (Response::new(302), "fatal"),
        (Response::new(408), "retry:"),
        (Response::new(500), "retry:"),
        (Response::new(503), "retry:"),
        (after(503, "4"), "retry after 4s"),
        (Response::new(429), "retry:"),
        (after(429, "7"), "retry after 7s"),
        (after(429, "Sun, 06 Nov 1994 08:49:37 GMT"), "retry after 10s"),
        (after(429, "soon"), "retry:"),
    ] {
        let status = response.status;
        let (host, payload) = on_the_web(response);
        let failure = run(&host, "process", &payload).unwrap_err();
        assert!(failure.to_string().starts_with(wanted), "{status}: {failure}");
        assert!(failure.to_string().contains(&status.to_string()), "{failure}");
        assert!(!failure.to_string().contains("secret"), "{failure}");
    }
    let (host, payload) = on_the_web(after(429, "999999"));
    let failure = run(&host, "process", &payload).unwrap_err();
    assert!(matches!(failure, Failure::RetryAfter { delay, .. } if delay == Duration::from_secs(3600)));
}

#[test]
fn network_faults_are_retried_and_refusals_are_not() {
    let cases = [
        (HttpError::Timeout, true),
        (HttpError::Dns("no such name".into()), true),
        (HttpError::Connect("reset".into()), true),
        (HttpError::Tls("expired".into()), true),
        (HttpError::Denied("not granted".into()), false),
        (HttpError::TooLarge("17 MiB".into()), false),
    ];
    for (error, again) in cases {
        let (_, payload) = on_the_web(Response::new(200));
        let host = Host::new().store(STORE).fail(URL, error.clone());
        let failure = run(&host, "process", &payload).unwrap_err();
        assert_eq!(matches!(failure, Failure::Retry(_)), again, "{error:?}: {failure}");
        assert_eq!(matches!(failure, Failure::Fatal(_)), !again, "{error:?}: {failure}");
        assert!(!failure.to_string().contains("secret"), "{failure}");
    }
    let (host, mut payload) = on_the_web(Response::new(200).with_body(vec![0; 100]));
    payload["limits"] = json!({"bytes": 99});
    assert!(matches!(run(&host, "process", &payload), Err(Failure::Fatal(_))));
}

#[test]
fn blob_faults_are_fatal_when_they_cannot_heal() {
    let missing = run(&Host::new().store(STORE), "process", &payload(&json!([{"name": "a"}])));
    assert!(matches!(&missing, Err(Failure::Fatal(text)) if text.contains("uploads/in/a")), "{missing:?}");
    let denied = run(&Host::new(), "process", &payload(&json!([{"name": "a"}])));
    assert!(matches!(&denied, Err(Failure::Fatal(text)) if text.contains("denied")), "{denied:?}");
    let mut elsewhere = payload(&json!([{"name": "a"}]));
    elsewhere["destination"]["store"] = json!("public");
    let denied = run(&stored(fixture::still(Format::Png, 4, 4)), "process", &elsewhere);
    assert!(matches!(&denied, Err(Failure::Fatal(text)) if text.contains("public/out/a.png")), "{denied:?}");
}
