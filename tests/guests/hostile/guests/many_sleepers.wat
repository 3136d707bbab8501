;; row: M9
;; what: hundreds of cells that only sit in the pool
;; at-once: 300
;; ends: deadline
(import "wasi:clocks/monotonic-clock@0.2.0" "subscribe-duration" (func $timer (param i64) (result i32)))
(import "wasi:io/poll@0.2.0" "[method]pollable.block" (func $block (param i32)))
(func (export "handle") (param i32) (result i32)
  (call $block (call $timer (i64.const 31536000000000000))) (call $ok))
