;; row: O5
;; what: fills the cache with new keys without end
;; ends: completed, deadline, cpu
;; needs: cache
(import "jobcell:job/cache@0.1.0" "set" (func $set (param i32 i32 i32 i32 i32 i64 i32)))
(global $n (mut i64) (i64.const 0))
(func (export "handle") (param i32) (result i32)
  (loop $more
    (global.set $top (i32.const 49152))
    (global.set $n (i64.add (global.get $n) (i64.const 1)))
    (i64.store (i32.const 2048) (i64.or (i64.and (global.get $n) (i64.const 0x0f0f0f0f0f0f0f0f)) (i64.const 0x4040404040404040)))
    (call $set (i32.const 2048) (i32.const 8) (i32.const 8192) (i32.const 256) (i32.const 0) (i64.const 0) (i32.const 512))
    (br $more))
  unreachable)
