;; row: C6
;; what: uses tail calls
;; ends: refused
;; form: bare
;; own: memory, realloc, answers
(memory (export "memory") 1)
(func $f (return_call $f))
(func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 16384)) (func (export "handle") (param i32) (result i32) (i32.const 1024))
