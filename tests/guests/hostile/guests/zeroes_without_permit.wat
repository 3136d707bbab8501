;; row: M6
;; what: writes the greatest number of zeroes into stdout without asking whether there is room
;; ends: abi, failed
;; advisory: GHSA-gqmc
(import "wasi:cli/stdout@0.2.0" "get-stdout" (func $stdout (result i32)))
(import "wasi:io/streams@0.2.0" "[method]output-stream.write-zeroes" (func $zeroes (param i32 i64 i32)))
(func (export "handle") (param i32) (result i32)
  (call $zeroes (call $stdout) (i64.const 0x7fffffffffff) (i32.const 512))
  (if (i32.load8_u (i32.const 512)) (then (return (call $fail (i32.const 6)))))
  (call $ok))
