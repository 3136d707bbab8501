;; row: C8
;; what: the start function recurses for ever
;; ends: stack
;; form: bare
(func $deeper (call $deeper) (call $deeper))
(start $deeper)
(func (export "handle") (param i32) (result i32) (call $ok))
