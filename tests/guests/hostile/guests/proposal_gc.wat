;; row: C6
;; what: uses garbage-collected structs
;; ends: refused
;; form: bare
;; own: memory, realloc, answers
(memory (export "memory") 1)
(type $s (struct (field i32))) (func (drop (struct.new $s (i32.const 1))))
(func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 16384)) (func (export "handle") (param i32) (result i32) (i32.const 1024))
