;; row: O1
;; what: logs a kilobyte again and again
;; ends: deadline, cpu
(import "jobcell:job/context@0.1.0" "log" (func $log (param i32 i32)))
(func (export "handle") (param i32) (result i32)
  (memory.fill (i32.const 2048) (i32.const 97) (i32.const 1024))
  (loop $more (call $log (i32.const 2048) (i32.const 1024)) (br $more))
  unreachable)
