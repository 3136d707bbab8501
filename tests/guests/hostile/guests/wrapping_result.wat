;; row: M3
;; what: answers with a list whose end wraps around the address space
;; ends: abi, result
(func (export "handle") (param i32) (result i32)
  (drop (call $ok)) (i32.store (i32.const 1032) (i32.const -8))
  (i32.store (i32.const 1036) (i32.const 16)) (i32.const 1024))
