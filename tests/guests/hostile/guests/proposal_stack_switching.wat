;; row: C6
;; what: uses stack switching
;; ends: refused
;; form: bare
;; own: memory, realloc, answers
(memory (export "memory") 1)
(type $f (func)) (type $c (cont $f)) (func $g) (elem declare func $g) (func (drop (cont.new $c (ref.func $g))))
(func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 16384)) (func (export "handle") (param i32) (result i32) (i32.const 1024))
