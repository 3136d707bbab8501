;; row: M2
;; what: asks for a table of four thousand million elements
;; ends: memory
(table $t 1 funcref)
(func (export "handle") (param i32) (result i32)
  (drop (table.grow $t (ref.null func) (i32.const -2))) (call $fail (i32.const 1)))
