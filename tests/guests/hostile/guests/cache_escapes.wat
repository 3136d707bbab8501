;; row: O5
;; what: chooses cache keys that would leave its own part of the store
;; ends: completed
;; needs: cache
;; holds: keys
(import "jobcell:job/cache@0.1.0" "set" (func $set (param i32 i32 i32 i32 i32 i64 i32)))
(data (i32.const 2048) "../../other:key")
(data (i32.const 2080) "}:{other}:tenant:key")
(data (i32.const 2112) "\00\0d\0aSET x 1\0d\0a*?[a]")
(func (export "handle") (param i32) (result i32)
  (call $set (i32.const 2048) (i32.const 15) (i32.const 2048) (i32.const 4) (i32.const 0) (i64.const 0) (i32.const 512))
  (call $set (i32.const 2080) (i32.const 20) (i32.const 2048) (i32.const 4) (i32.const 0) (i64.const 0) (i32.const 512))
  (call $set (i32.const 2112) (i32.const 17) (i32.const 2048) (i32.const 4) (i32.const 0) (i64.const 0) (i32.const 512))
  (call $ok))
