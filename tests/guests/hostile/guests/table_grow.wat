;; row: M2
;; what: grows a table until something stops it
;; ends: memory
(table $t 1 funcref)
(func (export "handle") (param i32) (result i32)
  (loop $more (br_if $more (i32.ne (table.grow $t (ref.null func) (i32.const 1000)) (i32.const -1))))
  (call $fail (i32.const 1)))
