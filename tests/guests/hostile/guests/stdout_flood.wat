;; row: O1
;; what: prints one line without end to stdout
;; ends: deadline, cpu
(import "wasi:cli/stdout@0.2.0" "get-stdout" (func $stdout (result i32)))
(import "wasi:io/streams@0.2.0" "[method]output-stream.blocking-write-and-flush" (func $print (param i32 i32 i32 i32)))
(func (export "handle") (param i32) (result i32)
  (local $stdout i32)
  (local.set $stdout (call $stdout))
  (memory.fill (i32.const 8192) (i32.const 97) (i32.const 4096))
  (loop $more (call $print (local.get $stdout) (i32.const 8192) (i32.const 4096) (i32.const 512)) (br $more))
  unreachable)
