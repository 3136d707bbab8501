;; row: T5
;; what: waits in the host again and again, so that it can be ended at any of its waits
;; at-once: 20
;; holds: any-wait
;; ends: cancelled
;; advisory: GHSA-3r89
(import "wasi:clocks/monotonic-clock@0.2.0" "subscribe-duration" (func $timer (param i64) (result i32)))
(import "wasi:io/poll@0.2.0" "[method]pollable.block" (func $block (param i32)))
(import "wasi:io/poll@0.2.0" "[resource-drop]pollable" (func $drop (param i32)))
(func (export "handle") (param i32) (result i32)
  (local $timer i32)
  (loop $again
    (local.set $timer (call $timer (i64.const 200000)))
    (call $block (local.get $timer))
    (call $drop (local.get $timer))
    (br $again))
  unreachable)
