;; row: T4
;; what: polls an empty list, which upstream answers with a trap
;; ends: abi, trap
(import "wasi:io/poll@0.2.0" "poll" (func $poll (param i32 i32 i32)))
(func (export "handle") (param i32) (result i32)
  (call $poll (i32.const 0) (i32.const 0) (i32.const 512)) (call $ok))
