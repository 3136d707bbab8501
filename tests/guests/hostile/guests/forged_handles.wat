;; row: M4
;; what: calls and drops handles that it was never given
;; ends: abi
(import "wasi:io/poll@0.2.0" "[method]pollable.block" (func $block (param i32)))
(func (export "handle") (param i32) (result i32)
  (call $block (i32.const 41)) (call $ok))
