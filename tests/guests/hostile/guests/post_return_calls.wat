;; row: F8
;; what: calls the host from its post-return, when the call is over
;; ends: abi
(import "jobcell:job/context@0.1.0" "log" (func $log (param i32 i32)))
(func (export "handle") (param i32) (result i32) (call $ok))
(func (export "cabi_post_handle") (param i32) (call $log (i32.const 2048) (i32.const 4)))
