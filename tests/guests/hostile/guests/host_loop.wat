;; row: T6
;; what: calls a cheap host function for ever
;; ends: deadline, cpu
(import "jobcell:job/context@0.1.0" "remaining-ms" (func $left (result i64)))
(func (export "handle") (param i32) (result i32)
  (loop $again (drop (call $left)) (br $again)) unreachable)
