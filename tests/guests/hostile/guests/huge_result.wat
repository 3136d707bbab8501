;; row: M3
;; what: answers with a list that says it has 2 GiB
;; ends: abi, result
(func (export "handle") (param i32) (result i32)
  (drop (call $ok)) (i32.store (i32.const 1032) (i32.const 8192))
  (i32.store (i32.const 1036) (i32.const 0x7fffffff)) (i32.const 1024))
