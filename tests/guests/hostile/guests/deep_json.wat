;; row: O4
;; what: reports progress of JSON that is nested tens of thousands of times
;; ends: completed
(import "jobcell:job/context@0.1.0" "progress" (func $progress (param i32 i32 i32)))
(func (export "handle") (param i32) (result i32)
  (memory.fill (i32.const 8192) (i32.const 0x5b) (i32.const 20000))
  (memory.fill (i32.const 28192) (i32.const 0x5d) (i32.const 20000))
  (global.set $top (i32.const 50000))
  (call $progress (i32.const 8192) (i32.const 40000) (i32.const 512))
  (call $ok))
