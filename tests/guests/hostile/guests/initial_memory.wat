;; row: M1
;; what: declares 4 GiB of memory to begin with
;; ends: refused
;; form: bare
;; memory: 65536
(func (export "handle") (param i32) (result i32) (call $ok))
