;; row: T1
;; what: the allocator that the host calls to hand over the job never returns
;; ends: deadline, cpu
;; own: realloc
(func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (loop (br 0)) unreachable)
(func (export "handle") (param i32) (result i32) (call $ok))
