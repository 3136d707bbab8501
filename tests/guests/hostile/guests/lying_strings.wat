;; row: M3
;; what: hands one long text to the host many times over in one list
;; ends: host-call
;; needs: http
;; advisory: GHSA-852m
(import "wasi:http/types@0.2.0" "[static]fields.from-list" (func $fields (param i32 i32 i32)))
(func (export "handle") (param i32) (result i32)
  (local $i i32)
  (local $at i32)
  (drop (memory.grow (i32.const 15)))
  (memory.fill (i32.const 65536) (i32.const 97) (i32.const 65536))
  (loop $more
    (local.set $at (i32.add (i32.const 131072) (i32.shl (local.get $i) (i32.const 4))))
    (i32.store (local.get $at) (i32.const 65536)) (i32.store offset=4 (local.get $at) (i32.const 65000))
    (i32.store offset=8 (local.get $at) (i32.const 65536)) (i32.store offset=12 (local.get $at) (i32.const 65000))
    (br_if $more (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 50000))))
  (call $fields (i32.const 131072) (i32.const 50000) (i32.const 512))
  (call $fail (i32.const 2)))
