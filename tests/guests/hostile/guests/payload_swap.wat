;; row: O4
;; what: replaces its payload by what is not JSON, and by more than a payload may have
;; ends: completed, host-call
(import "jobcell:job/context@0.1.0" "update-data" (func $update (param i32 i32 i32)))
(func (export "handle") (param i32) (result i32)
  (drop (memory.grow (i32.const 20)))
  (memory.fill (i32.const 16384) (i32.const 0x7b) (i32.const 1200000))
  (call $update (i32.const 16384) (i32.const 1200000) (i32.const 512))
  (if (i32.eqz (i32.load8_u (i32.const 512))) (then (return (call $fail (i32.const 22)))))
  (call $update (i32.const 16384) (i32.const 10) (i32.const 512))
  (if (i32.eqz (i32.load8_u (i32.const 512))) (then (return (call $fail (i32.const 23)))))
  (call $ok))
