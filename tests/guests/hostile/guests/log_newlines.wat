;; row: O1
;; what: logs texts of nothing but newlines
;; ends: deadline, cpu
(import "jobcell:job/context@0.1.0" "log" (func $log (param i32 i32)))
(func (export "handle") (param i32) (result i32)
  (memory.fill (i32.const 8192) (i32.const 10) (i32.const 49152))
  (loop $more (call $log (i32.const 8192) (i32.const 49152)) (br $more))
  unreachable)
