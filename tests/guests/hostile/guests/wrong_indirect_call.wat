;; row: F5
;; what: calls functions through a table by wrong types, empty places and beyond its end
;; ends: trap
(type $a (func)) (type $b (func (param i64 i64 f64) (result i64)))
(table 4 funcref)
(elem (i32.const 0) $f)
(func $f)
(func (export "handle") (param i32) (result i32)
  (drop (call_indirect (type $b) (i64.const 1) (i64.const 2) (f64.const 3) (i32.const 0))) (call $ok))
