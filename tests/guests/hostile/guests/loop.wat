;; row: T1
;; what: branches back for ever
;; ends: deadline, cpu
(func (export "handle") (param i32) (result i32) (loop (br 0)) unreachable)
