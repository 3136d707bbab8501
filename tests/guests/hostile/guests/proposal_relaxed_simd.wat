;; row: C6
;; what: uses relaxed SIMD
;; ends: refused
;; form: bare
;; own: memory, realloc, answers
(memory (export "memory") 1)
(func (drop (i32x4.relaxed_trunc_f32x4_s (v128.const i32x4 0 0 0 0))))
(func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 16384)) (func (export "handle") (param i32) (result i32) (i32.const 1024))
