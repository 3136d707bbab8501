;; row: T4
;; what: polls a thousand timers that are never ready
;; ends: deadline
(import "wasi:clocks/monotonic-clock@0.2.0" "subscribe-duration" (func $timer (param i64) (result i32)))
(import "wasi:io/poll@0.2.0" "poll" (func $poll (param i32 i32 i32)))
(func (export "handle") (param i32) (result i32)
  (local $i i32)
  (loop $more
    (i32.store (i32.add (i32.const 16384) (i32.mul (local.get $i) (i32.const 4)))
      (call $timer (i64.const 31536000000000000)))
    (br_if $more (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 1000))))
  (call $poll (i32.const 16384) (i32.const 1000) (i32.const 512))
  (call $ok))
