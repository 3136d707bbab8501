;; row: C8
;; what: the start function grows memory for ever
;; ends: memory
;; form: bare
(func $grow (loop (drop (memory.grow (i32.const 64))) (br 0)))
(start $grow)
(func (export "handle") (param i32) (result i32) (call $ok))
