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
        r#"(import "wasi:keyvalue/batch@0.2.0-draft" (instance)) (import "acme:x/y@1.0.0" (instance))
           (import "plain" (func))"#,
        "",
        &handle("(i32.const 0)"),
    );
    let error = refused(&unknown).to_string();
    for part in ["wasi:keyvalue/batch@0.2.0-draft", "acme:x/y@1.0.0", "plain", "jobcell:job/cache@0.1.0"] {
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
        "kv = [",
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
    assert_eq!(
        toml,
        "[handlers.tested.grants]\npublish = [\"…\"]  # or publish = [] if it is to reach nothing there"
    );
    admit(&guest("capable"), all_grants()).unwrap();
    let nothing = r#"{"http":[],"blobs":[],"cache":true,"kv":[],"enqueue":[],"publish":[],"secrets":[]}"#;
    admit(&guest("capable"), serde_json::from_str(nothing).unwrap()).unwrap();
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
        ("legacy exceptions", "(func try nop catch_all end)"),
        ("function references", "(type $t (func)) (func (param (ref $t)))"),
        ("stack switching", "(type $f (func)) (type $c (cont $f))"),
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
fn what_is_instantiated_is_counted_as_often_as_it_is() {
    let refused_for = |before: &str, what: &str, count: u64| {
        let error = refused(&by_hand_with(before, "", &handle("(i32.const 0)")));
        match error {
            AdmitError::Shape { what: named, count: counted, .. } => {
                assert_eq!((named, counted), (what, count), "{before}");
            }
            other => panic!("{before}: {other}"),
        }
    };
    let many = |count: usize, of: &str| format!("(instance (instantiate {of}))").repeat(count);
    let leaf = "(core module $empty) (core instance (instantiate $empty))";
    // Seven within, three times: fewer definitions than instances.
    let nested = |inner: usize, outer: usize| {
        format!(
            "(component $a {leaf}) (component $b (alias outer 1 $a (component $a)) {}) {}",
            many(inner, "$a"),
            many(outer, "$b")
        )
    };
    admit(&by_hand_with(&nested(7, 3), "", &handle("(i32.const 0)")), Grants::default()).unwrap();
    refused_for(&nested(7, 5), "core instances", 35);
    // Each level twice the one before: a few bytes more, and as many instances as there are atoms.
    let mut doubling = format!("(component $c0 {leaf})");
    for n in 1..60 {
        let below = n - 1;
        doubling.push_str(&format!(
            "(component $c{n} (alias outer 1 $c{below} (component $c{below})) {})",
            many(2, &format!("$c{below}"))
        ));
    }
    refused_for(&doubling, "component instances", 126);
    let with_memory = "(core module $m0 (memory 1)) (core instance (instantiate $m0))";
    refused_for(&format!("(component $a {with_memory}) {}", many(5, "$a")), "memories", 5);
    let tables = "(table 1 funcref)".repeat(3);
    let with_tables = format!("(core module $m0 {tables}) (core instance (instantiate $m0))");
    refused_for(&format!("(component $a {with_tables}) {}", many(3, "$a")), "tables", 9);
    refused_for(&format!("(component $a) {}", many(101, "$a")), "component instances", 101);
    let handed = "components or modules that are passed as arguments";
    refused_for(r#"(component (import "c" (component)))"#, handed, 1);
    refused_for(r#"(component (import "m" (core module)))"#, handed, 1);
    refused_for(
        r#"(component $a (component $b) (export "b" (component $b))) (instance $i (instantiate $a))
           (alias export $i "b" (component $taken))"#,
        handed,
        1,
    );
    let deep = format!("{}{}", "(component ".repeat(16), ")".repeat(16));
    refused_for(&deep, "levels of components inside of components", 17);
}

#[test]
fn what_is_exported_is_counted_by_its_new_index_too() {
    // The second index means the first component: five instances of it have five memories.
    let text = r#"(component $outer (component $a (core module $m0 (memory 1)) (core instance (instantiate $m0)))
          (export $again "again" (component $a))
          INSTANCES)
        (instance (instantiate $outer))"#;
    let text = text.replace("INSTANCES", &"(instance (instantiate $again))".repeat(5));
    let error = refused(&by_hand_with(&text, "", &handle("(i32.const 0)")));
    assert!(matches!(error, AdmitError::Shape { what: "memories", count: 5, .. }), "{error}");
}

#[test]
fn types_are_held_to_their_size_written_out() {
    let shape = |before: &str| match refused(&by_hand_with(before, "", &handle("(i32.const 0)"))) {
        AdmitError::Shape { what, count, .. } => (what, count),
        other => panic!("{other}"),
    };
    let mut chain = "(type $t0 (list u8))".to_owned();
    for n in 1..40 {
        chain.push_str(&format!("(type $t{n} (list $t{}))", n - 1));
    }
    assert_eq!(shape(&chain), ("levels of types inside of one type", 33));
    let cases: String = (0..10_000).map(|n| format!(r#"(case "c{n}" u32)"#)).collect();
    assert_eq!(shape(&format!("(type (variant {cases}))")), ("parts in one type", 10_001));
    let names: String = (0..2_000).map(|n| format!(r#""n{n}" "#)).collect();
    assert_eq!(shape(&format!("(type (enum {names}))")), ("parts in one type", 2_001));
    // Small as it is written, large as it is meant.
    let mut wide = "(type $w0 (tuple u8 u8 u8 u8 u8 u8 u8 u8 u8 u8))".to_owned();
    for n in 1..4 {
        let below = format!("$w{} ", n - 1).repeat(10);
        wide.push_str(&format!("(type $w{n} (tuple {below}))"));
    }
    assert_eq!(shape(&wide).0, "parts in one type");
    // In a component inside, which the outer one does not show.
    assert_eq!(shape(&format!("(component {chain})")).0, "levels of types inside of one type");
    // By a function that is only imported there.
    let within = format!(
        r#"(component (import "i" (instance $i {chain} (export "t" (type $t (eq $t39)))
           (export "f" (func (param "p" $t))))) (alias export $i "f" (func $f)))"#
    );
    assert_eq!(shape(&within).0, "levels of types inside of one type");
    let many = format!("(component (type (instance {})))", "(type u8)".repeat(20_001));
    let (what, count) = shape(&many);
    assert!(what == "types" && count > 20_000);
}

#[test]
fn types_nested_to_any_depth_do_not_reach_the_stack() {
    // The binary form by hand: a component of one section of types, an instance type in an instance type in an …
    for opening in [0x41, 0x42] {
        for depth in [15, 100_000, 2_500_000] {
            let mut types = vec![1];
            for _ in 0..depth {
                types.extend_from_slice(&[opening, 1, 1]);
            }
            types.extend_from_slice(&[0x42, 0]);
            let mut bytes = b"\0asm\x0d\0\x01\0\x07".to_vec();
            let mut length = types.len();
            while length > 0x7f {
                bytes.push((length & 0x7f) as u8 | 0x80);
                length >>= 7;
            }
            bytes.push(u8::try_from(length).unwrap());
            bytes.extend_from_slice(&types);
            let error = refused(&bytes);
            if depth > 15 {
                let what = "levels of components inside of components";
                assert!(matches!(error, AdmitError::Shape { what: named, .. } if named == what), "{error}");
                assert!(inspect(&bytes).is_err());
            } else {
                assert!(matches!(error, AdmitError::OtherWorld { .. }), "{error}");
            }
        }
    }
}

#[test]
fn lists_of_anything_end_somewhere() {
    let imports: String = (0..1_001).map(|n| format!(r#"(import "i{n}" (func))"#)).collect();
    let error = refused(&component(&format!("(component {imports})")));
    assert!(matches!(error, AdmitError::Shape { what: "imports", count: 1_001, limit: 1_000 }), "{error}");
    let segments = r#"(data (i32.const 0) "")"#.repeat(10_001);
    let error = refused(&by_hand(&format!("{} {segments}", handle("(i32.const 0)"))));
    assert!(matches!(error, AdmitError::Shape { what: "data segments", .. }), "{error}");
    let types = "(type (func))".repeat(20_001);
    let error = refused(&by_hand(&format!("{} {types}", handle("(i32.const 0)"))));
    assert!(matches!(error, AdmitError::Shape { what: "types", .. }), "{error}");
}

#[test]
fn custom_sections_are_not_compiled_along() {
    let dir = tempfile::tempdir().unwrap();
    let cache = jobcell_wasm::CompileCache::open(dir.path()).unwrap();
    // Debug information that is none, notes, and names beyond all measure.
    let noise = "Zk9".repeat(200_000);
    let module = format!(
        r#"(@custom ".debug_info" "{noise}") (@custom ".debug_line" "{noise}") {}
           (@custom "notes" "{noise}") (@custom "name" "{}")"#,
        handle("(i32.const 0)"),
        "Zk9".repeat(1_400_000)
    );
    let bytes = by_hand(&module);
    let mut options = AdmitOptions::new("tested", Grants::default());
    options.cache = Some(cache.clone());
    let admitted = ENGINE.admit_blocking(&bytes, &options).unwrap();
    assert_eq!(admitted.description().size, bytes.len() as u64);
    let kept = std::fs::read_dir(cache.folder()).unwrap().map(|entry| entry.unwrap().path());
    let code: Vec<_> = kept.filter(|path| path.extension().is_some_and(|ending| ending == "cwasm")).collect();
    let code = std::fs::read(&code[0]).unwrap();
    assert!(!code.windows(9).any(|part| part == b"Zk9Zk9Zk9"));
    // What is compiled is the stripped form; what is named is the artifact as it came.
    assert!(ENGINE.admit_blocking(&bytes, &options).unwrap().was_cached());
}

#[test]
fn parts_of_the_component_model_that_are_off_are_named() {
    for (proposal, before) in [
        ("component-model async", "(type (stream u8))"),
        ("component-model async", "(type (future))"),
        ("component-model error contexts", "(core func (canon error-context.drop))"),
        ("component-model fixed-length lists", "(type (list u8 4))"),
        ("component-model maps", "(type (map string u32))"),
    ] {
        match refused(&by_hand_with(before, "", &handle("(i32.const 0)"))) {
            AdmitError::Proposal { proposal: named, .. } => assert_eq!(named, proposal),
            other => panic!("{proposal}: {other}"),
        }
    }
}

#[test]
fn a_description_tells_all_without_compiling() {
    let bytes = guest("capable");
    let described = inspect(&bytes).unwrap();
    assert_eq!((described.size, described.digest.len()), (bytes.len() as u64, 64));
    assert_eq!(described.wit.as_deref(), Some("0.1.0"));
    assert_eq!(described.exports, ["handle (func)"]);
    assert_eq!(described.grants.len(), 7, "{:?}", described.grants);
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
