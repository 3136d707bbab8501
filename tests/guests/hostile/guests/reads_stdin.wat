;; row: T4
;; what: waits for stdin, where nothing will ever come
;; ends: completed
(import "wasi:cli/stdin@0.2.0" "get-stdin" (func $stdin (result i32)))
(import "wasi:io/streams@0.2.0" "[method]input-stream.blocking-read" (func $read (param i32 i64 i32)))
(func (export "handle") (param i32) (result i32)
  (call $read (call $stdin) (i64.const 65536) (i32.const 512))
  ;; Closed is the only good answer: bytes would be somebody else's.
  (if (i32.eqz (i32.load8_u (i32.const 512)))
    (then (if (i32.load (i32.const 520)) (then unreachable))))
  (call $ok))
