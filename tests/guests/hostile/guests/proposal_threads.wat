;; row: C6
;; what: uses atomic operations
;; ends: refused
;; form: bare
;; own: memory, realloc, answers
(memory (export "memory") 1 1 shared)
(func (drop (i32.atomic.rmw.add (i32.const 0) (i32.const 1))))
(func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 16384)) (func (export "handle") (param i32) (result i32) (i32.const 1024))
