;; row: O1
;; what: floods wasi:logging with long contexts
;; ends: deadline, cpu
(import "wasi:logging/logging@0.1.0-draft" "log" (func $log (param i32 i32 i32 i32 i32)))
(func (export "handle") (param i32) (result i32)
  (memory.fill (i32.const 2048) (i32.const 97) (i32.const 32768))
  (loop $more
    (call $log (i32.const 4) (i32.const 2048) (i32.const 32768) (i32.const 2048) (i32.const 32768)) (br $more))
  unreachable)
