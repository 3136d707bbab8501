;; row: O5
;; what: enqueues jobs on the queue it was granted until it is refused
;; ends: completed, deadline, cpu
;; needs: enqueue
;; holds: enqueued
(import "jobcell:job/jobs@0.1.0" "enqueue" (func $enqueue (param i32 i32)))
(data (i32.const 2048) "granted")
(func (export "handle") (param i32) (result i32)
  (loop $more
    (global.set $top (i32.const 8192))
    (i32.store (i32.const 3072) (i32.const 2048)) (i32.store (i32.const 3076) (i32.const 7))
    (i32.store (i32.const 3080) (i32.const 2048)) (i32.store (i32.const 3084) (i32.const 5))
    (call $enqueue (i32.const 3072) (i32.const 512))
    (br_if $more (i32.eqz (i32.load8_u (i32.const 512)))))
  (call $ok))
