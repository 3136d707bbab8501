//! Makes a component of every text under `guests/`, and the table of them from the comments at their beginnings.
//!
//! A text is `;; key: value` lines and then, by its `form`:
//!
//! - `module` (the usual): the inside of a core module; imports come first and are named as in `wit/`. It becomes a
//!   component of our world the way that any language's compiler makes one.
//! - `bare`: the inside of a core module in a component written by hand, for what no tool would make.
//! - `component`: the inside of a component, with `$TYPES` for the types of our contract.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::{Resolve, WorldId};

type Fault = Box<dyn std::error::Error>;

fn main() -> Result<(), Fault> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let out = PathBuf::from(env::var("OUT_DIR")?);
    for watched in ["guests", "wit", "build.rs", "../../../wit"] {
        println!("cargo::rerun-if-changed={}", root.join(watched).display());
    }
    let world = World::read(&root)?;
    let mut texts: Vec<PathBuf> =
        fs::read_dir(root.join("guests"))?.map(|entry| Ok(entry?.path())).collect::<Result<_, Fault>>()?;
    texts.sort();
    let mut table = String::from("[\n");
    for text in texts {
        let name = text.file_stem().ok_or("a guest without a name")?.to_string_lossy().into_owned();
        let guest = Text::read(&text)?;
        let wasm = guest.component(&world).map_err(|fault| format!("{}: {fault}", text.display()))?;
        fs::write(out.join(format!("{name}.wasm")), wasm)?;
        writeln!(table, "    {}", guest.entry(&name)?)?;
    }
    table.push(']');
    fs::write(out.join("guests.rs"), table)?;
    // A component of our world without its module: the bombs put theirs between the two.
    let frame = wat::parse_str(framed("(core module)").replace("(instantiate $m)", "(instantiate 0)"))?;
    let empty = [1, 8, 0, b'a', b's', b'm', 1, 0, 0, 0];
    let at = frame.windows(empty.len()).position(|part| part == empty).ok_or("no module in the frame")?;
    fs::write(out.join("frame_head.bin"), &frame[..at])?;
    fs::write(out.join("frame_tail.bin"), &frame[at + empty.len()..])?;
    Ok(())
}

/// The world that guests are made of: our contract and a part of WASI.
struct World {
    resolve: Resolve,
    id: WorldId,
}

impl World {
    fn read(root: &Path) -> Result<Self, Fault> {
        let mut resolve = Resolve::default();
        resolve.push_path(root.join("../../../wit"))?;
        let (package, _) = resolve.push_path(root.join("wit/wasi.wit"))?;
        let id = resolve.select_world(&[package], Some("hostile"))?;
        Ok(Self { resolve, id })
    }
}

/// One guest as it is written.
struct Text {
    keys: BTreeMap<String, String>,
    body: String,
}

const KEYS: [&str; 11] =
    ["row", "what", "ends", "needs", "advisory", "form", "memory", "own", "holds", "at-once", "payload"];

impl Text {
    fn read(path: &Path) -> Result<Self, Fault> {
        let text = fs::read_to_string(path)?;
        let mut keys = BTreeMap::new();
        let mut body = String::new();
        for line in text.lines() {
            match line.strip_prefix(";; ").and_then(|rest| rest.split_once(": ")).filter(|_| body.is_empty())
            {
                Some((key, value)) if KEYS.contains(&key) => {
                    keys.insert(key.to_owned(), value.trim().to_owned());
                }
                _ if line.starts_with(";; ") && body.is_empty() => {
                    return Err(format!("{}: {line:?} is not one of {KEYS:?}", path.display()).into());
                }
                _ => {
                    body.push_str(line);
                    body.push('\n');
                }
            }
        }
        Ok(Self { keys, body })
    }

    fn key(&self, key: &str) -> &str {
        self.keys.get(key).map_or("", String::as_str)
    }

    fn must(&self, key: &str) -> Result<&str, Fault> {
        self.keys.get(key).map(String::as_str).ok_or_else(|| format!("no {key:?} line").into())
    }

    /// The guest's line in the table.
    fn entry(&self, name: &str) -> Result<String, Fault> {
        let list = |key| {
            let words: Vec<_> =
                self.key(key).split(',').map(str::trim).filter(|word| !word.is_empty()).collect();
            format!("&{words:?}")
        };
        let (row, what) = (self.must("row")?, self.must("what")?);
        self.must("ends")?;
        let advisory = Some(self.key("advisory")).filter(|id| !id.is_empty());
        let (ends, needs) = (list("ends"), list("needs"));
        let holds = match self.key("holds") {
            "" => "Nothing",
            "keys" => "Keys",
            "queues" => "Queues",
            "enqueued" => "Enqueued",
            "secrets" => "Secrets",
            "shut" => "Shut",
            "any-wait" => "AnyWait",
            other => return Err(format!("there is no check {other:?}").into()),
        };
        let at_once: u32 = Some(self.key("at-once")).filter(|n| !n.is_empty()).unwrap_or("1").parse()?;
        let payload = match self.key("payload") {
            "" => "Json",
            "port" => "Port",
            other => return Err(format!("there is no payload {other:?}").into()),
        };
        Ok(format!(
            "Guest {{ row: {row:?}, name: {name:?}, what: {what:?}, advisory: {advisory:?}, ends: {ends}, \
             needs: {needs}, holds: Holds::{holds}, payload: Payload::{payload}, at_once: {at_once}, \
             wasm: Wasm::Embedded(include_bytes!(concat!(env!(\"OUT_DIR\"), \"/{name}.wasm\"))) }},"
        ))
    }

    fn component(&self, world: &World) -> Result<Vec<u8>, Fault> {
        match self.key("form") {
            "" | "module" => self.of_module(world),
            "bare" => Ok(wat::parse_str(framed(&format!("(core module $m {})", self.module())))?),
            "component" => {
                let inside = self.body.replace("$TYPES", &types());
                Ok(wat::parse_str(format!("(component {inside})"))?)
            }
            other => Err(format!("there is no form {other:?}").into()),
        }
    }

    fn of_module(&self, world: &World) -> Result<Vec<u8>, Fault> {
        let mut module = wat::parse_str(format!("(module {})", self.module()))?;
        embed_component_metadata(&mut module, &world.resolve, world.id, StringEncoding::UTF8)?;
        // Names of functions cost more than the guests themselves.
        Ok(ComponentEncoder::default().module(&module)?.validate(true).encode()?)
    }

    /// Imports, then what every guest has, then the rest.
    fn module(&self) -> String {
        let own: Vec<_> = self.key("own").split(',').map(str::trim).collect();
        let (imports, rest): (Vec<_>, Vec<_>) =
            self.body.lines().partition(|line| line.starts_with("(import "));
        let mut module = imports.join("\n");
        module.push('\n');
        if !own.contains(&"memory") {
            let pages = Some(self.key("memory")).filter(|pages| !pages.is_empty()).unwrap_or("1");
            let _ = writeln!(module, "(memory (export \"memory\") {pages})");
        }
        if !own.contains(&"realloc") {
            module.push_str(REALLOC);
        }
        if !own.contains(&"answers") {
            module.push_str(ANSWERS);
        }
        module.push_str(&rest.join("\n"));
        module
    }
}

/// An allocator that never frees.
const REALLOC: &str = r#"
(global $top (mut i32) (i32.const 8192))
(func $realloc (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
  (local $at i32)
  (local.set $at (i32.and (i32.add (global.get $top) (i32.const 7)) (i32.const -8)))
  (global.set $top (i32.add (local.get $at) (local.get 3)))
  (block $room
    (br_if $room (i32.le_u (global.get $top) (i32.mul (memory.size) (i32.const 65536))))
    (drop (memory.grow (i32.add (i32.const 1) (i32.shr_u (local.get 3) (i32.const 16))))))
  (local.get $at))
"#;

/// The two ways to answer: an empty result, and a failure for good whose text is a number of three digits.
const ANSWERS: &str = r#"
(func $ok (result i32)
  (i64.store (i32.const 1024) (i64.const 0)) (i64.store (i32.const 1032) (i64.const 0)) (i32.const 1024))
(func $fail (param $n i32) (result i32)
  (i32.store (i32.const 1024) (i32.const 1)) (i32.store (i32.const 1032) (i32.const 2))
  (i32.store (i32.const 1040) (i32.const 1104)) (i32.store (i32.const 1044) (i32.const 3))
  (i32.store8 (i32.const 1104) (i32.add (i32.const 48) (i32.div_u (local.get $n) (i32.const 100))))
  (i32.store8 (i32.const 1105)
    (i32.add (i32.const 48) (i32.rem_u (i32.div_u (local.get $n) (i32.const 10)) (i32.const 10))))
  (i32.store8 (i32.const 1106) (i32.add (i32.const 48) (i32.rem_u (local.get $n) (i32.const 10))))
  (i32.const 1024))
"#;

/// A component of our world, by hand, around this core module.
fn framed(module: &str) -> String {
    format!(
        r#"(component {types} {module}
  (core instance $i (instantiate $m))
  (type $handle (func (param "job" $job) (result (result (list u8) (error $failure)))))
  (func $f (type $handle) (canon lift (core func $i "handle") (memory (core memory $i "memory"))
    (realloc (core func $i "cabi_realloc"))))
  (export "handle" (func $f)))"#,
        types = types()
    )
}

/// The types of our contract, as a component's text has them.
fn types() -> String {
    r#"
  (import "jobcell:job/types@0.1.0" (instance $types
    (type $header' (record (field "name" string) (field "value" string)))
    (export "header" (type $header (eq $header')))
    (type $headers (list $header)) (type $text (option string)) (type $bytes (list u8))
    (type $job' (record (field "id" string) (field "queue" string) (field "name" string) (field "data" $bytes)
      (field "attempt" u32) (field "max-attempts" u32) (field "starts" u32) (field "stalls" u32)
      (field "enqueued-at" u64) (field "deadline" u64) (field "idempotency-key" string)
      (field "tenant" $text) (field "parent" $text) (field "headers" $headers)))
    (export "job" (type (eq $job')))
    (type $delayed' (record (field "reason" string) (field "delay-ms" u64)))
    (export "delayed-retry" (type $delayed (eq $delayed')))
    (type $failure' (variant (case "retry" string) (case "retry-after" $delayed) (case "fatal" string)
      (case "invalid" string) (case "rate-limited" u64) (case "delay-until" u64) (case "requeue")
      (case "wait-for-children") (case "other" string)))
    (export "failure" (type (eq $failure')))))
  (alias export $types "job" (type $job))
  (alias export $types "failure" (type $failure))
"#
    .to_owned()
}
