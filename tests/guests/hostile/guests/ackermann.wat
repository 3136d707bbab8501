;; row: T1
;; what: recursion that is deep and long at once
;; ends: deadline, cpu, stack
(func $a (param $m i64) (param $n i64) (result i64)
  (if (result i64) (i64.eqz (local.get $m))
    (then (i64.add (local.get $n) (i64.const 1)))
    (else (if (result i64) (i64.eqz (local.get $n))
      (then (call $a (i64.sub (local.get $m) (i64.const 1)) (i64.const 1)))
      (else (call $a (i64.sub (local.get $m) (i64.const 1))
        (call $a (local.get $m) (i64.sub (local.get $n) (i64.const 1)))))))))
(func (export "handle") (param i32) (result i32)
  (drop (call $a (i64.const 4) (i64.const 4))) (call $ok))
