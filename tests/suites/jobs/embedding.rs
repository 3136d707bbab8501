//! The host inside of another program.

use jobcell_tests::{Site, artifacts};

#[test]
fn the_example_runs_a_wasm_and_a_native_handler_and_shuts_down() {
    let site = Site::raw("");
    let guest = artifacts::guest("basic").display().to_string();
    let ran = site.program(&artifacts::example("embed"), &[&guest]).ok();
    for line in [r#"{"text":"Hello, Ada!"}"#, r#"{"ok":true,"i":7}"#, "0 jobs given back"] {
        assert!(ran.stdout.contains(line), "{line}: {ran}");
    }
}
