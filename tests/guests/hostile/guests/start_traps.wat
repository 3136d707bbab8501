;; row: C8
;; what: the start function reads out of bounds
;; ends: trap
;; form: bare
(func $out (drop (i32.load (i32.const -4))))
(start $out)
(func (export "handle") (param i32) (result i32) (call $ok))
