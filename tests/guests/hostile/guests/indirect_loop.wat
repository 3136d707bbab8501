;; row: T1
;; what: loops by indirect calls through a table
;; ends: deadline, cpu
(type $step (func (param i32)))
(table 2 funcref)
(elem (i32.const 0) $nothing $nothing)
(func $nothing (param i32))
(func (export "handle") (param i32) (result i32)
  (loop $again
    (call_indirect (type $step) (i32.const 0) (i32.const 0))
    (call_indirect (type $step) (i32.const 0) (i32.const 1))
    (br $again))
  unreachable)
