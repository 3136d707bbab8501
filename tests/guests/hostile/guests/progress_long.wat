;; row: O4
;; what: reports a progress value of half a megabyte
;; ends: completed
(import "jobcell:job/context@0.1.0" "progress" (func $progress (param i32 i32 i32)))
(func (export "handle") (param i32) (result i32)
  (drop (memory.grow (i32.const 8)))
  (memory.fill (i32.const 16384) (i32.const 49) (i32.const 524288))
  (call $progress (i32.const 16384) (i32.const 524288) (i32.const 512))
  (if (i32.eqz (i32.load8_u (i32.const 512))) (then (return (call $fail (i32.const 21)))))
  (call $ok))
