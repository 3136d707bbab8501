;; row: O2
;; what: exits the process that it takes itself to be
;; ends: panic
(import "wasi:cli/exit@0.2.0" "exit" (func $exit (param i32)))
(func (export "handle") (param i32) (result i32) (call $exit (i32.const 0)) (call $ok))
