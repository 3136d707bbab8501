;; row: F4
;; what: shares memory, from which a clock of any precision can be made
;; ends: refused
;; form: bare
;; own: memory, realloc, answers
(memory (export "memory") 1 1 shared)
(func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 16384))
(func (export "handle") (param i32) (result i32) (i32.const 1024))
