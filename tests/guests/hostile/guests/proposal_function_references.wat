;; row: C6
;; what: uses typed function references
;; ends: refused
;; form: bare
;; own: memory, realloc, answers
(memory (export "memory") 1)
(type $f (func)) (func (param (ref null $f)) (call_ref $f (local.get 0)))
(func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 16384)) (func (export "handle") (param i32) (result i32) (i32.const 1024))
