;; row: M3
;; what: answers with a case of failure that does not exist
;; ends: abi
(func (export "handle") (param i32) (result i32)
  (drop (call $fail (i32.const 1))) (i32.store8 (i32.const 1032) (i32.const 77)) (i32.const 1024))
