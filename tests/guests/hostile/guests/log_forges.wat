;; row: O2
;; what: logs lines that steer terminals and forge other lines, by every way into the log
;; ends: completed
(import "jobcell:job/context@0.1.0" "log" (func $log (param i32 i32)))
(import "wasi:logging/logging@0.1.0-draft" "log" (func $logging (param i32 i32 i32 i32 i32)))
(import "wasi:cli/stdout@0.2.0" "get-stdout" (func $stdout (result i32)))
(import "wasi:io/streams@0.2.0" "[method]output-stream.blocking-write-and-flush" (func $print (param i32 i32 i32 i32)))
(data (i32.const 2048) "a\1b[2J\1b]0;owned\07\0d2026-01-01 ERROR forged\c2\9b31m\00\7f\e2\80\a8x\0alast")
(func (export "handle") (param i32) (result i32)
  (call $log (i32.const 2048) (i32.const 58))
  (call $logging (i32.const 2) (i32.const 2048) (i32.const 20) (i32.const 2048) (i32.const 20))
  (call $print (call $stdout) (i32.const 2048) (i32.const 58) (i32.const 512))
  (call $ok))
