;; row: C6
;; what: uses wide arithmetic
;; ends: refused
;; form: bare
;; own: memory, realloc, answers
(memory (export "memory") 1)
(func (param i64 i64 i64 i64) (result i64 i64) (i64.add128 (local.get 0) (local.get 1) (local.get 2) (local.get 3)))
(func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 16384)) (func (export "handle") (param i32) (result i32) (i32.const 1024))
