;; row: O5
;; what: puts jobs on queues that it was not granted, and on names that would be other keys
;; ends: completed
;; needs: enqueue
;; holds: queues
(import "jobcell:job/jobs@0.1.0" "enqueue" (func $enqueue (param i32 i32)))
(data (i32.const 2048) "admin")
(data (i32.const 2064) "granted:42:lock")
(data (i32.const 2096) "granted\00\0d\0a")
(func $try (param $at i32) (param $len i32)
  (memory.fill (i32.const 3072) (i32.const 0) (i32.const 128))
  (i32.store (i32.const 3072) (local.get $at)) (i32.store (i32.const 3076) (local.get $len))
  (i32.store (i32.const 3080) (i32.const 2048)) (i32.store (i32.const 3084) (i32.const 5))
  (call $enqueue (i32.const 3072) (i32.const 512))
  (if (i32.eqz (i32.load8_u (i32.const 512))) (then unreachable)))
(func (export "handle") (param i32) (result i32)
  (call $try (i32.const 2048) (i32.const 5)) (call $try (i32.const 2064) (i32.const 15))
  (call $try (i32.const 2096) (i32.const 10)) (call $ok))
