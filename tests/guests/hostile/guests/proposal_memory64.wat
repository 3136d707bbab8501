;; row: C6
;; what: uses a memory of 64 bits
;; ends: refused
;; form: bare
;; own: memory, realloc, answers
(memory (export "memory") 1)
(memory i64 1)
(func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 16384)) (func (export "handle") (param i32) (result i32) (i32.const 1024))
