;; row: M2
;; what: declares a table of ten million elements to begin with
;; ends: refused
;; form: bare
(table $t 10000000 funcref)
(func (export "handle") (param i32) (result i32) (call $ok))
