//! Components that differ in a mark: small enough that thousands are made in no time.

use jobcell_handlers::Digest;

/// What a version does with every job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Does {
    /// Answers with its mark, as JSON text.
    Answer,
    /// Traps.
    Trap,
    /// Asks to be tried again, and says its mark.
    Retry,
    /// Traps before it can take a job.
    TrapAtStart,
    /// Calls itself before it can take a job, so often that the usual stack holds that on baseline code, where it is four
    /// times as large, and not on optimised code.
    DiveAtStart,
    /// Calls itself as often as the payload says, a number, and answers with its mark.
    Dive,
}

/// A version.
#[derive(Debug, Clone)]
pub(super) struct Guest {
    /// Its result, as a job's record shows it.
    pub(super) result: String,
    pub(super) bytes: Vec<u8>,
}

impl Guest {
    /// One with this mark.
    pub(super) fn new(mark: &str, does: Does) -> Self {
        let result = format!("\"{mark}\"");
        let text = result.escape_default();
        let len = result.len();
        let ok = "(i32.store8 (i32.const 1024) (i32.const 0))";
        let handle = match does {
            Does::Answer | Does::DiveAtStart => ok.to_owned(),
            Does::Trap | Does::TrapAtStart => "(unreachable)".to_owned(),
            // The payload is the job's fourth field.
            Does::Dive => format!(
                "(local $at i32) (local $end i32) (local $depth i32)
                (local.set $at (i32.load offset=24 (local.get 0)))
                (local.set $end (i32.add (local.get $at) (i32.load offset=28 (local.get 0))))
                (loop $more (if (i32.lt_u (local.get $at) (local.get $end)) (then
                  (local.set $depth (i32.add (i32.mul (local.get $depth) (i32.const 10))
                    (i32.sub (i32.load8_u (local.get $at)) (i32.const 48))))
                  (local.set $at (i32.add (local.get $at) (i32.const 1))) (br $more))))
                (drop (call $dive (local.get $depth))) {ok}"
            ),
            // The failure's case `retry` with a text, at the place of the result.
            Does::Retry => {
                "(i32.store8 (i32.const 1024) (i32.const 1)) (i32.store8 (i32.const 1032) (i32.const 0))
                (i32.store (i32.const 1040) (i32.const 2048))"
                    .to_owned()
            }
        };
        let answer = match does {
            Does::Retry => format!("(i32.store (i32.const 1044) (i32.const {len}))"),
            _ => format!(
                "(i32.store (i32.const 1032) (i32.const 2048)) (i32.store (i32.const 1036) (i32.const {len}))"
            ),
        };
        let more = match does {
            Does::TrapAtStart => "(func $s (unreachable)) (start $s)".to_owned(),
            Does::Dive => DIVE.to_owned(),
            Does::DiveAtStart => {
                format!("{DIVE} (func $s (drop (call $dive (i32.const 24000)))) (start $s)")
            }
            _ => String::new(),
        };
        let text = format!(
            r#"(component {TYPES}
  (core module $m
    (memory (export "memory") 1)
    (data (i32.const 2048) "{text}")
    (global $top (mut i32) (i32.const 8192))
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
      (local $at i32)
      (local.set $at (i32.and (i32.add (global.get $top) (i32.const 7)) (i32.const -8)))
      (global.set $top (i32.add (local.get $at) (local.get 3)))
      (block $room
        (br_if $room (i32.le_u (global.get $top) (i32.mul (memory.size) (i32.const 65536))))
        (drop (memory.grow (i32.add (i32.const 1) (i32.shr_u (local.get 3) (i32.const 16))))))
      (local.get $at))
    {more}
    (func (export "handle") (param i32) (result i32) {handle} {answer} (i32.const 1024)))
  (core instance $i (instantiate $m))
  (type $handle (func (param "job" $job) (result (result (list u8) (error $failure)))))
  (func $f (type $handle) (canon lift (core func $i "handle") (memory (core memory $i "memory"))
    (realloc (core func $i "cabi_realloc"))))
  (export "handle" (func $f)))"#
        );
        let bytes = wat::parse_str(&text).unwrap_or_else(|fault| panic!("{fault}\n{text}"));
        Self { result, bytes }
    }

    /// One that answers with this mark.
    pub(super) fn marked(mark: &str) -> Self {
        Self::new(mark, Does::Answer)
    }

    pub(super) fn digest(&self) -> Digest {
        Digest::of(&self.bytes)
    }

    /// The whole digest as a receipt has it.
    pub(super) fn name(&self) -> String {
        self.digest().to_string()
    }

    /// The first 12 digits.
    pub(super) fn version(&self) -> String {
        self.digest().short()
    }
}

/// Calls itself so many times.
const DIVE: &str = "(func $dive (param i32) (result i32) (if (result i32) (local.get 0)
  (then (i32.add (i32.const 1) (call $dive (i32.sub (local.get 0) (i32.const 1))))) (else (i32.const 0))))";

/// The types of the contract, as a component's text has them.
const TYPES: &str = r#"
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
"#;
