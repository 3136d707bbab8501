;; row: T4
;; what: waits for the longest time there is, which a clock may add up wrongly
;; ends: deadline
(import "wasi:clocks/monotonic-clock@0.2.0" "subscribe-duration" (func $timer (param i64) (result i32)))
(import "wasi:io/poll@0.2.0" "[method]pollable.block" (func $block (param i32)))
(func (export "handle") (param i32) (result i32)
  (call $block (call $timer (i64.const -1)))
  (call $ok))
