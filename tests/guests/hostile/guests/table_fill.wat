;; row: T3
;; what: fills and copies a table for ever
;; ends: deadline, cpu
(table $t 4000 funcref)
(func (export "handle") (param i32) (result i32)
  (loop $again
    (table.fill $t (i32.const 0) (ref.null func) (i32.const 4000))
    (table.copy $t $t (i32.const 0) (i32.const 2000) (i32.const 2000))
    (br $again))
  unreachable)
