;; row: M3
;; what: logs a text that is not UTF-8: halves of surrogates, overlong forms, cut off ends
;; ends: abi
(import "jobcell:job/context@0.1.0" "log" (func $log (param i32 i32)))
(data (i32.const 2048) "ok\ed\a0\80\c0\af\f8\88\80\80\80\ff\fe\e2\82")
(func (export "handle") (param i32) (result i32)
  (call $log (i32.const 2048) (i32.const 16)) (call $ok))
