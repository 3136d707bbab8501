;; row: T1
;; what: answers well and loops in its post-return
;; ends: deadline, cpu
(func (export "handle") (param i32) (result i32) (call $ok))
(func (export "cabi_post_handle") (param i32) (loop (br 0)))
