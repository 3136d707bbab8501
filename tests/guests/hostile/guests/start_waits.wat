;; row: C8
;; what: the start function calls a host function that yields
;; ends: deadline, refused
;; advisory: GHSA-5hhx
(import "wasi:clocks/monotonic-clock@0.2.0" "subscribe-duration" (func $timer (param i64) (result i32)))
(import "wasi:io/poll@0.2.0" "[method]pollable.block" (func $block (param i32)))
(func $wait (call $block (call $timer (i64.const 9000000000000))))
(start $wait)
(func (export "handle") (param i32) (result i32) (call $ok))
