;; row: O4
;; what: reports progress without end
;; ends: deadline, cpu
(import "jobcell:job/context@0.1.0" "progress" (func $progress (param i32 i32 i32)))
(func (export "handle") (param i32) (result i32)
  (i32.store (i32.const 2048) (i32.const 0x31313131))
  (loop $more
    (global.set $top (i32.const 8192))
    (call $progress (i32.const 2048) (i32.const 4) (i32.const 512)) (br $more))
  unreachable)
