use super::*;
use crate::wants::Capability;

fn leb(out: &mut Vec<u8>, mut size: usize) {
    loop {
        let low = (size & 0x7f) as u8;
        size >>= 7;
        out.push(if size == 0 { low } else { low | 0x80 });
        if size == 0 {
            return;
        }
    }
}

fn section_of(id: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![id];
    leb(&mut bytes, content.len());
    bytes.extend_from_slice(content);
    bytes
}

fn custom(name: &str, content: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    leb(&mut body, name.len());
    body.extend_from_slice(name.as_bytes());
    body.extend_from_slice(content);
    section_of(0, &body)
}

fn module(sections: &[Vec<u8>]) -> Vec<u8> {
    [b"\0asm\x01\0\0\0".to_vec(), sections.concat()].concat()
}

fn component(sections: &[Vec<u8>]) -> Vec<u8> {
    [b"\0asm\x0d\0\x01\0".to_vec(), sections.concat()].concat()
}

fn core(sections: &[Vec<u8>]) -> Vec<u8> {
    section_of(1, &module(sections))
}

fn nested(sections: &[Vec<u8>]) -> Vec<u8> {
    section_of(4, &component(sections))
}

fn manifest() -> Manifest {
    Manifest {
        name: "payment".to_owned(),
        version: Some("1.2.0-rc.1+build.5".to_owned()),
        wit: Some("0.1.0".to_owned()),
        language: Some("rust".to_owned()),
        build: BTreeMap::from([("sdk".to_owned(), "0.1.0".to_owned())]),
        limits: WantedLimits {
            memory_bytes: Some(64 << 20),
            deadline_ms: Some(30_000),
            stack_bytes: Some(1 << 20),
        },
        wants: Some(Wants::of(&[Capability::Kv, Capability::Http, Capability::Secrets])),
    }
}

#[test]
fn what_is_embedded_is_read_back_and_replaced_by_the_next() {
    let bare = component(&[core(&[]), custom("producers", b"x")]);
    assert_eq!(Manifest::read(&bare).unwrap(), None);
    let embedded = embed(&bare, &manifest()).unwrap();
    assert!(embedded.starts_with(&bare), "nothing else changes");
    assert_eq!(Manifest::read(&embedded).unwrap(), Some(manifest()));
    let other = Manifest { name: "other".to_owned(), ..manifest() };
    let again = embed(&embedded, &other).unwrap();
    assert_eq!(again, embed(&bare, &other).unwrap());
    wasmparser::Parser::new(0).parse_all(&again).for_each(|payload| drop(payload.unwrap()));
}

#[test]
fn the_outermost_manifest_counts() {
    let text = |name: &str| {
        let manifest = Manifest { name: name.to_owned(), ..Manifest::default() };
        custom(SECTION, &manifest.encode().unwrap())
    };
    let name = |component: Vec<u8>| Manifest::read(&component).unwrap().map(|manifest| manifest.name);
    assert_eq!(name(component(&[core(&[text("core")])])).as_deref(), Some("core"));
    assert_eq!(name(component(&[core(&[text("core")]), text("outer")])).as_deref(), Some("outer"));
    let deep = component(&[nested(&[core(&[text("core")])]), core(&[])]);
    assert_eq!(name(deep.clone()).as_deref(), Some("core"));
    let whole = Manifest { name: "whole".to_owned(), ..Manifest::default() };
    assert_eq!(name(embed(&deep, &whole).unwrap()).as_deref(), Some("whole"));
    let composed = component(&[nested(&[core(&[text("a")])]), nested(&[core(&[text("b")])])]);
    assert!(matches!(Manifest::read(&composed), Err(ManifestError::Several)));
    let twice = component(&[core(&[text("a")]), core(&[text("a")])]);
    assert_eq!(name(twice).as_deref(), Some("a"), "the same said twice is no contradiction");
}

#[test]
fn a_manifest_in_what_looks_like_a_module_within_a_module_is_none() {
    let hidden = module(&[section_of(1, &module(&[custom(SECTION, b"{}")]))]);
    assert_eq!(section(&hidden).unwrap(), None, "a module's first section holds types");
    let mut bytes = component(&[]);
    for _ in 0..100 {
        bytes = component(&[section_of(4, &bytes)]);
    }
    assert_eq!(section(&bytes).unwrap(), None);
}

#[test]
fn what_is_cut_off_anywhere_is_an_error_or_holds_whole_sections() {
    let text = manifest().encode().unwrap();
    let whole = component(&[core(&[custom(SECTION, &text)]), custom("x", b"y")]);
    for end in 0..whole.len() {
        match section(&whole[..end]) {
            Err(ManifestError::Malformed { at, .. }) => assert!(at <= end),
            Ok(None) => assert_eq!(end, 8, "a component of nothing"),
            Ok(Some(found)) => assert!(found == text && end + 5 == whole.len(), "{end}"),
            Err(other) => panic!("{end}: {other}"),
        }
        assert!(embed(&whole[..end], &manifest()).is_err() || Manifest::read(&whole[..end]).is_ok());
    }
    for bytes in [&b""[..], b"\0asm", b"hello world", &[0; 64]] {
        assert!(matches!(section(bytes), Err(ManifestError::Malformed { .. })), "{bytes:?}");
    }
}

#[test]
fn sizes_that_lie_are_no_reason_to_panic_or_to_reserve() {
    for size in [&[0xff, 0xff, 0xff, 0xff, 0x0f][..], &[0xff; 10], &[0x80; 10]] {
        let bytes = [component(&[]), vec![0], size.to_vec()].concat();
        assert!(section(&bytes).is_err());
    }
    let named = [component(&[]), section_of(0, &[0xff, 0xff, 0xff, 0xff, 0x0f])].concat();
    assert!(section(&named).is_err());
}

#[test]
fn a_manifest_is_no_longer_than_it_may_be() {
    let long = component(&[custom(SECTION, &vec![b' '; MANIFEST_BYTES_MAX + 1])]);
    let error = Manifest::read(&long).unwrap_err();
    assert!(matches!(error, ManifestError::TooLarge { size } if size == MANIFEST_BYTES_MAX + 1), "{error}");
    let wants = Wants { kv: (0..500).map(|n| format!("bucket-{n}")).collect(), ..Wants::default() };
    let manifest = Manifest { wants: Some(wants), ..manifest() };
    assert!(matches!(embed(&component(&[]), &manifest), Err(ManifestError::TooLarge { .. })));
}

#[test]
fn a_newer_manifest_is_read_and_an_unknown_want_is_not() {
    let newer = br#"{"name":"a","homepage":"https://example.com","limits":{"fuel":7,"memoryBytes":1}}"#;
    assert_eq!(Manifest::parse(newer).unwrap().limits.memory_bytes, Some(1));
    let error = Manifest::parse(br#"{"name":"a","wants":{"gpu":true}}"#).unwrap_err().to_string();
    assert!(error.contains("gpu") && error.contains("of this release"), "{error}");
}

#[test]
fn every_field_is_checked_and_named() {
    let cases = [
        ("name", r#"{"name":""}"#),
        ("name", r#"{"name":"a b"}"#),
        ("name", r#"{"name":"a\u0000"}"#),
        ("version", r#"{"name":"a","version":"1.2"}"#),
        ("wit", r#"{"name":"a","wit":"newest"}"#),
        ("language", r#"{"name":"a","language":"C plus plus"}"#),
        ("build", r#"{"name":"a","build":{"x":"a\nb"}}"#),
        ("limits", r#"{"name":"a","limits":{"deadlineMs":0}}"#),
        ("wants", r#"{"name":"a","wants":{"kv":[""]}}"#),
        ("wants", r#"{"name":"a","wants":{"kv":["a*b"]}}"#),
        ("wants", r#"{"name":"a","wants":{"secrets":[{"name":"\u001b[2J","reveal":true}]}}"#),
        ("wants", r#"{"name":"a","wants":{"enqueue":["**"]}}"#),
    ];
    for (field, text) in cases {
        match Manifest::parse(text.as_bytes()) {
            Err(ManifestError::Field { field: found, what }) => assert_eq!(found, field, "{text}: {what}"),
            other => panic!("{text}: {other:?}"),
        }
    }
    for text in ["", "null", "[]", "{}", "{\"name\":1}", &"[".repeat(3_000)] {
        assert!(matches!(Manifest::parse(text.as_bytes()), Err(ManifestError::Json(_))), "{text}");
    }
    let bad = Manifest { version: Some("one".to_owned()), ..manifest() };
    assert!(bad.encode().is_err(), "what nobody would read is not written");
}

#[test]
fn the_text_is_the_documented_one() {
    let text = br#"{"name":"payment","version":"1.2.0","wit":"0.1.0","language":"rust","build":{"sdk":"0.1.0"},"limits":{"memoryBytes":67108864,"deadlineMs":30000,"stackBytes":1048576},"wants":{"cache":true,"kv":["payment"]}}"#;
    let manifest = Manifest::parse(text).unwrap();
    assert_eq!(manifest.wants.as_ref().unwrap().lines(), ["cache", "kv payment"]);
    assert_eq!(manifest.encode().unwrap(), text);
}

#[test]
fn what_the_sdk_writes_is_read() {
    // As the tests of its macros have it.
    let text = r#"{"name":"jobcell-sdk-macros","version":"0.1.0","wit":"0.1.0","language":"rust","build":{"sdk":"0.1.0"},"wants":{"cache":true,"kv":["media"],"http":[{"url":"https://a.example/v1/*","methods":["GET","PUT"]},"*"],"secrets":["stripe",{"name":"other","reveal":true}]},"limits":{"memoryBytes":67108864,"deadlineMs":30000,"stackBytes":1048576}}"#;
    let manifest = Manifest::parse(text.as_bytes()).unwrap();
    let expected = [
        "cache",
        "http *",
        "http https://a.example/v1/* (GET, PUT)",
        "kv media",
        "secret other, revealed",
        "secret stripe",
    ];
    assert_eq!(manifest.wants.unwrap().lines(), expected);
    let (memory_bytes, deadline_ms, stack_bytes) = (Some(64 << 20), Some(30_000), Some(1 << 20));
    assert_eq!(manifest.limits, WantedLimits { memory_bytes, deadline_ms, stack_bytes });
}

#[test]
fn a_manifest_of_another_contract_is_not_this_components() {
    let says =
        |wit: Option<&str>| Manifest { wit: wit.map(str::to_owned), ..Manifest::unsaid("media", None) };
    for (said, imported) in [
        (Some("0.1.0"), Some("0.1.0")),
        (Some("0.1.3"), Some("0.1.0")),
        (Some("1.2.0"), Some("1.0.0")),
        (Some("9.0.0"), None),
        (None, Some("0.1.0")),
    ] {
        assert!(says(said).check_wit(imported).is_ok(), "{said:?} {imported:?}");
    }
    for (said, imported) in [("9.0.0", "0.1.0"), ("0.2.0", "0.1.0"), ("2.0.0", "1.0.0")] {
        let fault = says(Some(said)).check_wit(Some(imported)).unwrap_err().to_string();
        assert!(
            fault.contains(said) && fault.contains(imported) && fault.contains("Build it anew"),
            "{fault}"
        );
    }
}
