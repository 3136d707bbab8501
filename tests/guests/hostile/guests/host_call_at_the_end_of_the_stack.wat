;; row: M8
;; what: goes as deep as it can and calls the host from each depth
;; ends: stack, deadline, cpu
(import "jobcell:job/context@0.1.0" "log" (func $log (param i32 i32)))
(func $deeper
  (call $log (i32.const 2048) (i32.const 16))
  (call $deeper) (call $log (i32.const 2048) (i32.const 16)))
(func (export "handle") (param i32) (result i32)
  (memory.fill (i32.const 2048) (i32.const 97) (i32.const 64)) (call $deeper) (call $ok))
