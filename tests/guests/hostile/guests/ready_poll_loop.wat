;; row: T6
;; what: polls a timer that is always ready, for ever
;; ends: deadline, cpu
(import "wasi:clocks/monotonic-clock@0.2.0" "subscribe-duration" (func $timer (param i64) (result i32)))
(import "wasi:io/poll@0.2.0" "poll" (func $poll (param i32 i32 i32)))
(func (export "handle") (param i32) (result i32)
  (i32.store (i32.const 256) (call $timer (i64.const 0)))
  (loop $again
    (global.set $top (i32.const 8192))
    (call $poll (i32.const 256) (i32.const 1) (i32.const 512))
    (br $again))
  unreachable)
