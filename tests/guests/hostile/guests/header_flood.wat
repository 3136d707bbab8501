;; row: M6
;; what: adds header fields until the host's map of them is full
;; ends: failed, host-call
;; needs: http
;; advisory: GHSA-243v
(import "wasi:http/types@0.2.0" "[constructor]fields" (func $fields (result i32)))
(import "wasi:http/types@0.2.0" "[method]fields.append" (func $append (param i32 i32 i32 i32 i32 i32)))
(func (export "handle") (param i32) (result i32)
  (local $fields i32)
  (local $i i32)
  (local.set $fields (call $fields))
  (loop $more
    (i32.store (i32.const 2048) (i32.add (i32.const 0x61616161) (i32.and (local.get $i) (i32.const 0x0f0f0f0f))))
    (call $append (local.get $fields) (i32.const 2048) (i32.const 4) (i32.const 2048) (i32.const 0) (i32.const 512))
    (if (i32.load8_u (i32.const 512)) (then (return (call $fail (i32.const 3)))))
    (br_if $more (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 100000))))
  (call $ok))
