;; row: O2
;; what: prints a panic message of control characters and aborts
;; ends: panic
(import "wasi:cli/stderr@0.2.0" "get-stderr" (func $stderr (result i32)))
(import "wasi:io/streams@0.2.0" "[method]output-stream.blocking-write-and-flush" (func $print (param i32 i32 i32 i32)))
(data (i32.const 2048) "thread 'main' panicked at \1b[2J\0d\1b]0;owned\07:1:1:\0a\1b[31mforged\0dERROR")
(func (export "handle") (param i32) (result i32)
  (call $print (call $stderr) (i32.const 2048) (i32.const 62) (i32.const 512)) unreachable)
