;; row: M3
;; what: fails with a reason of megabytes, full of control characters
;; ends: failed
(func (export "handle") (param i32) (result i32)
  (drop (memory.grow (i32.const 17)))
  (memory.fill (i32.const 65536) (i32.const 27) (i32.const 1048576))
  (drop (call $fail (i32.const 1)))
  (i32.store (i32.const 1040) (i32.const 65536)) (i32.store (i32.const 1044) (i32.const 1048576))
  (i32.const 1024))
