;; row: M3
;; what: polls a list of handles that lies on an odd address
;; ends: abi
(import "wasi:io/poll@0.2.0" "poll" (func $poll (param i32 i32 i32)))
(func (export "handle") (param i32) (result i32)
  (call $poll (i32.const 2049) (i32.const 1) (i32.const 512)) (call $ok))
