;; row: T7
;; what: subscribes to a million timers
;; ends: resources
(import "wasi:clocks/monotonic-clock@0.2.0" "subscribe-duration" (func $timer (param i64) (result i32)))
(func (export "handle") (param i32) (result i32)
  (local $i i32)
  (loop $more
    (drop (call $timer (i64.const 31536000000000000)))
    (br_if $more (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 1000000))))
  (call $ok))
