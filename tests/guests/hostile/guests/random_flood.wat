;; row: M7
;; what: asks for a gigabyte of random bytes in one call
;; ends: host-call
;; advisory: GHSA-852m
(import "wasi:random/random@0.2.0" "get-random-bytes" (func $random (param i64 i32)))
(func (export "handle") (param i32) (result i32)
  (call $random (i64.const 1073741824) (i32.const 512)) (call $ok))
