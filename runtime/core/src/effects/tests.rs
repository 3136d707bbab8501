use std::sync::Arc;

use super::*;

fn request(kind: HostCall, what: &str, writes: bool) -> Request {
    let mut print = [0; 16];
    for (at, byte) in what.bytes().enumerate() {
        print[at % 16] ^= byte;
    }
    Request { kind, what: what.to_owned(), print: Print(print), writes }
}

fn value(bytes: &'static [u8]) -> Answer {
    Answer::Value(Some(Blob(bytes.into())))
}

fn recorder(bytes_max: usize) -> Recorder {
    Recorder::new(bytes_max, 1_700_000_000_000, [7; 32])
}

fn ask(recorder: &Recorder, request: Request, answer: Answer) {
    let place = recorder.asked(request).unwrap();
    recorder.told(place, answer, 0);
}

#[test]
fn the_same_question_is_answered_in_the_order_of_its_answers() {
    let recorder = recorder(10_000);
    let (get, other) =
        (request(HostCall::Cache, "get k", false), request(HostCall::KeyValue, "get k", false));
    ask(&recorder, get.clone(), Answer::Value(None));
    ask(&recorder, other.clone(), Answer::Number(3));
    ask(&recorder, get.clone(), value(b"v"));
    let recording = Arc::new(recorder.finish());
    assert_eq!(recorder.asked(get.clone()), None, "it is over");
    let player = Player::new(Arc::clone(&recording));
    // Another order of different questions is no divergence.
    assert_eq!(player.answer(&other), Ok(Answer::Number(3)));
    assert_eq!(player.answer(&get), Ok(Answer::Value(None)));
    assert_eq!(player.answer(&get), Ok(value(b"v")));
    assert_eq!(player.played(), Played::default());
    assert_eq!(player.answer(&get).unwrap_err().why, Why::NotRecorded);
    assert_eq!(player.answer_if_recorded(&request(HostCall::Config, "get a", false)), None);
    assert_eq!(player.played().diverged, 1);
    assert!(player.played().divergences[0].to_string().contains("get k"));
}

#[test]
fn what_was_changed_and_is_not_asked_for_is_left_out() {
    let recorder = recorder(10_000);
    for n in 0..20 {
        ask(&recorder, request(HostCall::Publish, &format!("publish {n}"), true), Answer::Done);
        ask(&recorder, request(HostCall::Cache, &format!("get {n}"), false), Answer::Value(None));
    }
    let player = Player::new(Arc::new(recorder.finish()));
    player.answer(&request(HostCall::Publish, "publish 0", true)).unwrap();
    let played = player.played();
    assert_eq!((played.left_out_total, played.left_out.len(), played.diverged), (19, 8, 0));
    assert_eq!(played.left_out[0], "publish 1");
}

#[test]
fn over_the_bound_it_is_truncated_and_says_so() {
    let recorder = recorder(1000);
    let get = |n: u32| request(HostCall::Cache, &format!("get {n}"), false);
    ask(&recorder, get(1), value(b"v"));
    ask(&recorder, get(2), Answer::Text("x".repeat(2000)));
    ask(&recorder, get(3), value(b"w"));
    let reserved = recorder.reserve(100);
    assert!(reserved && !recorder.reserve(2000));
    for n in 4..20 {
        recorder.asked(get(n));
    }
    let recording = recorder.finish();
    assert!(recording.truncated && recording.effects.len() < 10);
    let player = Player::new(Arc::new(recording));
    assert_eq!(player.answer(&get(1)), Ok(value(b"v")));
    assert_eq!(player.answer(&get(2)).unwrap_err().why, Why::Truncated);
    assert_eq!(player.answer(&get(3)), Ok(value(b"w")), "a long answer leaves room for the next");
    assert_eq!(player.answer(&get(4)).unwrap_err().why, Why::Unanswered);
    assert_eq!(player.answer(&get(19)).unwrap_err().why, Why::Truncated);
    assert!(player.played().divergences[0].to_string().contains("recording truncated"));
}

#[test]
fn a_body_that_grows_takes_what_it_is_in_the_end() {
    let recorder = recorder(1000);
    let place = recorder.asked(request(HostCall::Http, "GET /", false)).unwrap();
    let response = |body: &'static [u8], end| {
        Answer::Response(Response {
            status: 200,
            headers: vec![],
            body: Blob(body.into()),
            trailers: vec![],
            end,
        })
    };
    recorder.told(place, response(b"", End::Left), 0);
    assert!(recorder.reserve(800));
    assert!(!recorder.reserve(800));
    recorder.told(place, response(&[b'x'; 800], End::Cut), 800);
    let recording = recorder.finish();
    assert_eq!(recording.effects[0].answer, Some(response(&[b'x'; 800], End::Cut)));
    recorder.told(place, response(b"late", End::Whole), 0);
}

#[test]
fn gauges_say_what_they_said_and_then_go_on() {
    let recorder = recorder(1000);
    for value in [5, 5, 9] {
        assert_eq!(recorder.read(Gauge::Steady, value), value);
    }
    recorder.read(Gauge::Remaining, 1000);
    let player = Player::new(Arc::new(recorder.finish()));
    let read: Vec<u64> = [100, 100, 101, 104].map(|now| player.read(Gauge::Steady, now)).to_vec();
    assert_eq!(read, [5, 5, 9, 12]);
    assert_eq!([50, 40, 30].map(|now| player.read(Gauge::Remaining, now)), [1000, 990, 980]);
    assert_eq!(
        player.read(Gauge::Wall, 2_000_000_000_000),
        1_700_000_000_000,
        "none was read: it starts where it started"
    );
    assert_eq!(player.read(Gauge::Wall, 2_000_000_000_007), 1_700_000_000_007);
    assert_eq!(player.read(Gauge::Cancelled, 0), 0);
    assert_eq!(player.played().diverged, 0);
}

#[test]
fn a_clock_read_in_a_loop_is_cut_and_that_shows_once() {
    let recorder = recorder(1 << 20);
    for n in 0..1000 {
        recorder.read(Gauge::Steady, n);
    }
    let recording = recorder.finish();
    assert!(recording.truncated);
    assert_eq!(recording.readings.of(Gauge::Steady).len(), Readings::CHANGES_MAX);
    let player = Player::new(Arc::new(recording));
    let mut last = 0;
    for n in 0..1000 {
        let read = player.read(Gauge::Steady, n);
        assert!(read >= last);
        last = read;
    }
    assert_eq!(player.played().diverged, 1);
}

#[test]
fn a_recording_is_json_that_reads_back() {
    let recorder = recorder(100_000);
    let answers = [
        Answer::Done,
        Answer::Flag(true),
        Answer::Number(-4),
        Answer::Text("7".into()),
        Answer::Value(None),
        value(b"\xff\x00"),
        Answer::Pairs(vec![("a".into(), "b".into())]),
        Answer::Keys(vec!["a".into()], Some(9)),
        Answer::Content(3, Some(Blob(b"abc"[..].into()))),
        Answer::Infos(vec![BlobInfo {
            key: "k".into(),
            size: 1,
            content_type: None,
            etag: Some("e".into()),
        }]),
        Answer::Response(Response {
            status: 404,
            headers: vec![("x".into(), Blob(b"y"[..].into()))],
            body: Blob(b"no"[..].into()),
            trailers: vec![],
            end: End::Failed(Fault { code: "timeout".into(), detail: None }),
        }),
        Answer::Failed(Fault { code: "quota".into(), detail: Some("used up".into()) }),
    ];
    for (n, answer) in answers.into_iter().enumerate() {
        ask(&recorder, request(HostCall::ALL[n % 11], &format!("n {n}"), n % 2 == 0), answer);
    }
    recorder.read(Gauge::Wall, 4);
    recorder.asked(request(HostCall::Http, "GET /hangs", false));
    let recording = recorder.finish();
    let text = recording.to_json(usize::MAX);
    assert_eq!(serde_json::from_str::<Recording>(&text).unwrap(), recording, "{text}");
    let cut = recording.to_json(text.len() - 1);
    assert!(cut.len() < text.len());
    let cut: Recording = serde_json::from_str(&cut).unwrap();
    assert!(cut.truncated && cut.effects[..] == recording.effects[..6]);
    assert!(!format!("{recording:?}").contains("7, 7, 7"), "a seed does not show");
}
