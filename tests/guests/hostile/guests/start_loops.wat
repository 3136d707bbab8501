;; row: C8
;; what: the start function loops for ever
;; ends: deadline, cpu
;; form: bare
(func $spin (loop (br 0)))
(start $spin)
(func (export "handle") (param i32) (result i32) (call $ok))
