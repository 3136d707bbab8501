;; row: M6
;; what: makes header fields of a list of 32,769 at once
;; ends: failed, host-call
;; needs: http
;; advisory: GHSA-243v
(import "wasi:http/types@0.2.0" "[static]fields.from-list" (func $fields (param i32 i32 i32)))
(func (export "handle") (param i32) (result i32)
  (local $i i32)
  (local $at i32)
  (drop (memory.grow (i32.const 15)))
  (i32.store (i32.const 2048) (i32.const 0x61616161))
  (loop $more
    (local.set $at (i32.add (i32.const 131072) (i32.shl (local.get $i) (i32.const 4))))
    (i32.store (local.get $at) (i32.const 2048)) (i32.store offset=4 (local.get $at) (i32.const 1))
    (br_if $more (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 32769))))
  (call $fields (i32.const 131072) (i32.const 32769) (i32.const 512))
  (call $fail (i32.const 2)))
