//! What may become a handler, and what is said to what may not.

use jobcell_wasm::{AdmitError, AdmitOptions, Grants, Need, inspect};

use crate::support::{ENGINE, TYPES, admit, all_grants, by_hand, by_hand_with, component, guest, handle};

fn refused(bytes: &[u8]) -> AdmitError {
    admit(bytes, Grants::default()).expect_err("admitted")
}

#[test]
fn what_is_not_wasm_says_what_it_begins_with() {
    for bytes in [&b""[..], b"\x7fELF....", b"hello", b"\0as"] {
        let error = refused(bytes);
        assert!(
            matches!(error, AdmitError::NotWasm { .. }) || matches!(error, AdmitError::Malformed { .. }),
            "{error}"
        );
    }
    assert!(refused(b"<html>").to_string().contains("3c"));
}

#[test]
fn a_core_module_is_told_how_to_become_a_component() {
    let error = refused(&component("(module)"));
    assert!(matches!(error, AdmitError::CoreModule));
    assert!(error.to_string().contains("wasm32-wasip2"), "{error}");
}

#[test]
fn whatever_is_cut_off_is_malformed() {
    let whole = guest("basic");
    let cuts = (0..64).chain((64..whole.len()).step_by(4099)).chain([whole.len() - 1]);
    for cut in cuts {
        let error = refused(&whole[..cut]);
        assert!(
            matches!(
                error,
                AdmitError::Malformed { .. }
                    | AdmitError::NotWasm { .. }
                    | AdmitError::CoreModule
                    | AdmitError::OtherWorld { .. }
            ),
            "{cut}: {error}"
        );
    }
    assert!(matches!(refused(&whole[..whole.len() / 2]), AdmitError::Malformed { .. }));
}

#[test]
fn flipped_bytes_are_refused_or_admitted_but_never_break_the_host() {
    let whole = by_hand(&handle("(i32.const 0)"));
    for at in 0..whole.len() {
        for bit in [1, 0x10, 0x80] {
            let mut bytes = whole.clone();
            bytes[at] ^= bit;
            let _ = admit(&bytes, Grants::default());
            let _ = inspect(&bytes);
        }
    }
}

#[test]
fn too_many_bytes_are_refused_before_they_are_looked_at() {
    let mut options = AdmitOptions::new("tested", Grants::default());
    options.size_max = 1000;
    let error = ENGINE.admit_blocking(&guest("basic"), &options).unwrap_err();
    assert!(matches!(error, AdmitError::TooLarge { limit: 1000, .. }), "{error}");
    options.size_max = usize::MAX;
    let error = ENGINE.admit_blocking(&vec![0; (32 << 20) + 1], &options).unwrap_err();
    assert!(error.to_string().contains("32 MiB"), "{error}");
}

#[test]
fn another_world_is_told_what_it_exports() {
    let command = component(
        r#"(component (core module $m (func (export "f"))) (core instance $i (instantiate $m))
        (func $f (canon lift (core func $i "f"))) (export "run" (func $f)))"#,
    );
    let error = refused(&command);
    assert!(matches!(error, AdmitError::OtherWorld { .. }));
    assert!(error.to_string().contains("run (func)"), "{error}");
    assert!(refused(&component("(component)")).to_string().contains("exports nothing"));
    // The right name with the wrong type.
    let wrong = component(
        r#"(component (core module $m (func (export "f"))) (core instance $i (instantiate $m))
        (func $f (canon lift (core func $i "f"))) (export "handle" (func $f)))"#,
    );
    let error = refused(&wrong);
    assert!(matches!(error, AdmitError::OtherWorld { cause: Some(_), .. }), "{error}");
}

#[test]
fn a_newer_contract_is_named_with_both_versions() {
    let newer =
        by_hand_with(r#"(import "jobcell:job/context@0.2.0" (instance))"#, "", &handle("(i32.const 0)"));
    let error = refused(&newer).to_string();
    assert!(error.contains("needs host WIT 0.2.0, this host has 0.1.0"), "{error}");
    let whole = component(r#"(component (import "jobcell:job/types@0.3.1" (instance)))"#);
    assert!(refused(&whole).to_string().contains("needs host WIT 0.3.1"));
    // A later text within the same track, with a function that this host has not.
    let added = by_hand_with(
        r#"(import "jobcell:job/context@0.1.5" (instance (export "checkpoint" (func))))"#,
        "",
        &handle("(i32.const 0)"),
    );
    let error = refused(&added).to_string();
    assert!(error.contains("needs host WIT 0.1.5"), "{error}");
    // Nothing new in it: it runs.
    let same =
        by_hand_with(r#"(import "jobcell:job/context@0.1.5" (instance))"#, "", &handle("(i32.const 0)"));
    admit(&same, Grants::default()).unwrap();
}

#[test]
fn a_function_of_another_shape_does_not_link() {
    let other = by_hand_with(
        r#"(import "jobcell:job/context@0.1.0" (instance (export "log" (func (param "line" u32)))))"#,
        "",
        &handle("(i32.const 0)"),
    );
    let error = refused(&other);
    assert!(matches!(error, AdmitError::Link { .. }), "{error}");
}

#[test]
fn unknown_imports_are_listed_with_what_there_is() {
    let unknown = by_hand_with(
        r#"(import "wasi:keyvalue/store@0.2.0-draft" (instance)) (import "acme:x/y@1.0.0" (instance))
           (import "plain" (func))"#,
        "",
        &handle("(i32.const 0)"),
    );
    let error = refused(&unknown).to_string();
    for part in ["wasi:keyvalue/store@0.2.0-draft", "acme:x/y@1.0.0", "plain", "jobcell:job/cache@0.1.0"] {
        assert!(error.contains(part), "{part}: {error}");
    }
}

#[test]
fn every_ungranted_import_is_refused_with_its_line() {
    let error = refused(&guest("capable")).to_string();
    let lines = [
        "[handlers.tested.grants]",
        "http = [{ url",
        "blobs = [",
        "cache = true",
        "enqueue = [",
        "publish = [",
        "secrets = [",
    ];
    for line in lines {
        assert!(error.contains(line), "{line}: {error}");
    }
    let mut grants = all_grants();
    grants.publish.clear();
    let AdmitError::NotGranted { imports, toml, .. } = admit(&guest("capable"), grants).unwrap_err() else {
        panic!()
    };
    assert_eq!(imports, ["jobcell:job/publish@0.1.0"]);
    assert_eq!(toml, "[handlers.tested.grants]\npublish = [\"…\"]");
    admit(&guest("capable"), all_grants()).unwrap();
    admit(&guest("basic"), Grants::default()).unwrap();
}

#[test]
fn each_proposal_that_is_off_is_named() {
    let cases = [
        ("threads", "(memory 1 1 shared)"),
        ("memory64", "(memory i64 1)"),
        ("multi-memory", "(memory 1)"),
        ("tail calls", "(func $f (return_call $f))"),
        ("exceptions", "(tag $e)"),
        (
            "relaxed simd",
            "(func (drop (f32x4.relaxed_madd (v128.const i32x4 0 0 0 0) (v128.const i32x4 0 0 0 0) (v128.const i32x4 0 0 0 0))))",
        ),
        ("gc", "(type (struct))"),
        ("wide arithmetic", "(func (drop (drop (i64.mul_wide_u (i64.const 1) (i64.const 1)))))"),
        ("custom page sizes", "(memory $other 1 (pagesize 1))"),
    ];
    for (proposal, text) in cases {
        let module = if proposal == "threads" || proposal == "memory64" || proposal == "custom page sizes" {
            text.to_owned()
        } else {
            handle(&format!("(i32.const 0)) {}", text.strip_suffix(')').unwrap()))
        };
        let bytes = if module.contains("realloc") {
            by_hand(&module)
        } else {
            component(&format!(
                "(component {TYPES} (core module {module}) (core module $h {}) (core instance $i (instantiate $h))
                (type $handle (func (param \"job\" $job) (result (result (list u8) (error $failure)))))
                (func $f (type $handle) (canon lift (core func $i \"handle\") (memory (core memory $i \"memory\"))
                (realloc (core func $i \"realloc\")))) (export \"handle\" (func $f)))",
                handle("(i32.const 0)")
            ))
        };
        match refused(&bytes) {
            AdmitError::Proposal { proposal: named, .. } => assert_eq!(named, proposal),
            other => panic!("{proposal}: {other}"),
        }
    }
}

#[test]
fn what_is_costly_to_compile_is_refused_by_its_shape() {
    let functions = "(func)".repeat(50_001);
    let error = refused(&by_hand(&format!("{} {functions}", handle("(i32.const 0)")))).to_string();
    assert!(error.contains("functions"), "{error}");
    let locals = format!("(func (local {}))", "i32 ".repeat(20_001));
    let error = refused(&by_hand(&format!("{} {locals}", handle("(i32.const 0)")))).to_string();
    assert!(error.contains("local variables"), "{error}");
    let mut instances = String::new();
    for n in 0..33 {
        instances.push_str(&format!("(core instance $n{n} (instantiate $empty))"));
    }
    let many = by_hand_with(&format!("(core module $empty) {instances}"), "", &handle("(i32.const 0)"));
    let error = refused(&many).to_string();
    assert!(error.contains("core instances"), "{error}");
}

#[test]
fn a_description_tells_all_without_compiling() {
    let bytes = guest("capable");
    let described = inspect(&bytes).unwrap();
    assert_eq!((described.size, described.digest.len()), (bytes.len() as u64, 64));
    assert_eq!(described.wit.as_deref(), Some("0.1.0"));
    assert_eq!(described.exports, ["handle (func)"]);
    assert_eq!(described.grants.len(), 6, "{:?}", described.grants);
    let http = described
        .imports
        .iter()
        .find(|import| import.name.starts_with("wasi:http/outgoing-handler"))
        .unwrap();
    assert_eq!((http.offered, http.needs), (true, Some(Need::Http)));
    assert!(described.features.contains(&"bulk-memory"), "{:?}", described.features);
    let json = serde_json::to_value(&described).unwrap();
    assert_eq!(json["imports"][0]["offered"], true);
    let simd = by_hand(&handle("(v128.store (i32.const 0) (v128.const i32x4 0 0 0 0)) (i32.const 0)"));
    assert!(inspect(&simd).unwrap().features.contains(&"simd"));
    let unknown = by_hand_with(r#"(import "acme:x/y@1.0.0" (instance))"#, "", &handle("(i32.const 0)"));
    let described = inspect(&unknown).unwrap();
    assert!(described.imports.iter().any(|import| import.name == "acme:x/y@1.0.0" && !import.offered));
}

#[tokio::test]
async fn admission_waits_on_another_thread() {
    let admitted =
        ENGINE.admit(guest("basic"), AdmitOptions::new("tested", Grants::default())).await.unwrap();
    assert_eq!(admitted.version(), &admitted.digest()[..12]);
    assert!(!admitted.was_cached());
}
