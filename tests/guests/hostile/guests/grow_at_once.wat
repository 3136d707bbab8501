;; row: M1
;; what: asks for all of 4 GiB in one step
;; ends: memory
(func (export "handle") (param i32) (result i32)
  (drop (memory.grow (i32.const 65535))) (call $fail (i32.const 1)))
