;; row: F5
;; what: branches by indexes far out of range, and divides what cannot be divided
;; ends: trap
(func $pick (param i32) (result i32)
  (block $a (block $b (block $c (br_table $a $b $c (local.get 0))) (return (i32.const 2))) (return (i32.const 1)))
  (i32.const 0))
(func (export "handle") (param i32) (result i32)
  (if (i32.ne (call $pick (i32.const -1)) (i32.const 2)) (then (return (call $fail (i32.const 60)))))
  (if (i32.ne (call $pick (i32.const 0x7fffffff)) (i32.const 2)) (then (return (call $fail (i32.const 60)))))
  (drop (i32.rem_s (i32.const 0x80000000) (i32.const -1)))
  (drop (i32.div_s (i32.const 0x80000000) (i32.const -1)))
  (call $ok))
