//! Three versions of one handler, for the pages about them.

use jobcell_tests::{Site, artifacts};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Two queues of a handler whose versions are in the store.
pub(crate) const CONFIG: &str = r#"
[queues.work]
handler = "basic"
concurrency = 4
[queues.other]
handler = "basic"
[handlers.basic]
source = "store"
[handlers.basic.grants]
cache = true
kv = ["totals"]
"#;

/// Deploys the guest `basic` (`one`, active), another build of it (`two`), and one that wants more (`wider`): their
/// digests, as pages show them.
pub(crate) fn deploy(site: &Site) -> Value {
    let guest = std::fs::read(artifacts::guest("basic")).unwrap();
    let build = |number: u8| [&guest[..], &section(b"build", &[number])].concat();
    let manifest = br#"{"name":"basic","version":"2.0.0","wants":{"cache":true,"kv":["totals"]}}"#;
    let wider = [build(3), section(b"jobcell:manifest", manifest)].concat();
    let put = |file: &str, bytes: &[u8], more: &[&str]| {
        let path = site.write(file, bytes).display().to_string();
        let _ = site.cli(&[&["handler", "deploy", "basic", &path], more].concat()).ok();
        hex::encode(Sha256::digest(bytes))[..12].to_owned()
    };
    json!({
        "one": put("one.wasm", &build(1), &[]),
        "two": put("two.wasm", &build(2), &["--stage"]),
        "wider": put("wider.wasm", &wider, &["--stage"]),
    })
}

/// A custom section of a component.
fn section(name: &[u8], content: &[u8]) -> Vec<u8> {
    let size = 1 + name.len() + content.len();
    // In two bytes, whatever it is.
    let head = [0, u8::try_from(size & 0x7f).unwrap() | 0x80, u8::try_from(size >> 7).unwrap()];
    [&head[..], &[u8::try_from(name.len()).unwrap()], name, content].concat()
}
