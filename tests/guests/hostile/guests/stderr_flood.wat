;; row: O1
;; what: prints forged panics to stderr without end
;; ends: deadline, cpu
(import "wasi:cli/stderr@0.2.0" "get-stderr" (func $stderr (result i32)))
(import "wasi:io/streams@0.2.0" "[method]output-stream.blocking-write-and-flush" (func $print (param i32 i32 i32 i32)))
(data (i32.const 2048) "thread 'main' panicked at src/lib.rs:1:1:\0a\1b[2Jforged\0a")
(func (export "handle") (param i32) (result i32)
  (local $stderr i32)
  (local.set $stderr (call $stderr))
  (loop $more (call $print (local.get $stderr) (i32.const 2048) (i32.const 54) (i32.const 512)) (br $more))
  unreachable)
