;; row: M3
;; what: logs a text that ends beyond its memory
;; ends: abi
(import "jobcell:job/context@0.1.0" "log" (func $log (param i32 i32)))
(func (export "handle") (param i32) (result i32)
  (call $log (i32.const 65000) (i32.const 65000)) (call $ok))
