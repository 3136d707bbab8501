;; row: M10
;; what: looks for what an earlier cell left in memory, table, globals and stack, then leaves its own everywhere
;; ends: completed
;; memory: 4
(table $t 3000 funcref)
(elem declare func $mark)
(func $mark)
(global $left (mut i64) (i64.const 0))
(global $simd (mut v128) (v128.const i64x2 0 0))
(func $stack (param $depth i32) (param $bits i64) (result i64)
  (local $zero i64)
  (local $vector v128)
  ;; A local that nobody wrote is nothing, whatever lay in its place on the stack.
  (if (i64.ne (local.get $zero) (i64.const 0)) (then (return (i64.const 1))))
  (if (v128.any_true (local.get $vector)) (then (return (i64.const 1))))
  (if (i32.eqz (local.get $depth)) (then (return (i64.const 0))))
  (local.set $zero (i64.xor (local.get $bits) (i64.const 0x5ca1ab1e5ca1ab1e)))
  (local.set $vector (i64x2.splat (local.get $zero)))
  (i64.or (call $stack (i32.sub (local.get $depth) (i32.const 1)) (local.get $zero))
    (i64.and (i64x2.extract_lane 0 (local.get $vector)) (i64.const 0))))
(func (export "handle") (param i32) (result i32)
  (local $at i32)
  ;; What the host wrote for the job lies between 8192 and $top.
  (local.set $at (i32.and (i32.add (global.get $top) (i32.const 7)) (i32.const -8)))
  (loop $look
    (if (i64.ne (i64.load (local.get $at)) (i64.const 0)) (then (return (call $fail (i32.const 10)))))
    (br_if $look (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 8))) (i32.const 262144))))
  (local.set $at (i32.const 0))
  (loop $look
    (if (i32.eqz (ref.is_null (table.get $t (local.get $at)))) (then (return (call $fail (i32.const 11)))))
    (br_if $look (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 1))) (i32.const 3000))))
  (if (i64.ne (global.get $left) (i64.const 0)) (then (return (call $fail (i32.const 12)))))
  (if (v128.any_true (global.get $simd)) (then (return (call $fail (i32.const 13)))))
  (if (i64.ne (call $stack (i32.const 2000) (i64.const -1)) (i64.const 0))
    (then (return (call $fail (i32.const 14)))))
  ;; Memory that is added later must be as clean as what was there at the start.
  (local.set $at (i32.mul (memory.size) (i32.const 65536)))
  (if (i32.ne (memory.grow (i32.const 4)) (i32.const -1)) (then
    (loop $look
      (if (i64.ne (i64.load (local.get $at)) (i64.const 0)) (then (return (call $fail (i32.const 15)))))
      (br_if $look (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 8))) (i32.const 524288))))))
  (table.fill $t (i32.const 0) (ref.func $mark) (i32.const 3000))
  (global.set $left (i64.const 0x5ca1ab1e5ca1ab1e))
  (global.set $simd (i64x2.splat (i64.const 0x5ca1ab1e5ca1ab1e)))
  (memory.fill (i32.const 8192) (i32.const 0xa5) (i32.sub (i32.mul (memory.size) (i32.const 65536)) (i32.const 8192)))
  (call $ok))
