;; row: T1
;; what: recursion without a loop that takes a year and no stack
;; ends: deadline, cpu
(func $f (param $n i32) (result i64)
  (if (result i64) (i32.lt_u (local.get $n) (i32.const 2))
    (then (i64.const 1))
    (else (i64.add (call $f (i32.sub (local.get $n) (i32.const 1)))
      (call $f (i32.sub (local.get $n) (i32.const 2)))))))
(func (export "handle") (param i32) (result i32) (drop (call $f (i32.const 90))) (call $ok))
