;; row: O3
;; what: has a thousand channels of different names denied to it, which must become no labels
;; ends: completed
;; needs: publish
(import "jobcell:job/publish@0.1.0" "publish" (func $publish (param i32 i32 i32 i32 i32)))
(func (export "handle") (param i32) (result i32)
  (local $i i32)
  (i64.store (i32.const 2048) (i64.const 0x2d6e656b61666e75))
  (loop $more
    (i32.store (i32.const 2056) (i32.add (i32.const 0x30303030) (i32.and (local.get $i) (i32.const 0x070707))))
    (call $publish (i32.const 2048) (i32.const 12) (i32.const 2048) (i32.const 4) (i32.const 512))
    (if (i32.eqz (i32.load8_u (i32.const 512))) (then (return (call $fail (i32.const 20)))))
    (global.set $top (i32.const 8192))
    (br_if $more (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 1000))))
  (call $ok))
