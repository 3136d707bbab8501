;; row: M8
;; what: recurses with frames of hundreds of values that live across the call
;; ends: stack
(func $wide (param i64) (result i64)
  (local i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64)
  (local.set 1 (i64.mul (local.get 0) (i64.const 3))) (local.set 2 (i64.mul (local.get 1) (i64.const 5)))
  (local.set 3 (i64.xor (local.get 2) (i64.const 7))) (local.set 4 (i64.mul (local.get 3) (i64.const 9)))
  (local.set 5 (i64.xor (local.get 4) (i64.const 11))) (local.set 6 (i64.mul (local.get 5) (i64.const 13)))
  (local.set 7 (i64.xor (local.get 6) (i64.const 15))) (local.set 8 (i64.mul (local.get 7) (i64.const 17)))
  (local.set 9 (i64.xor (local.get 8) (i64.const 19))) (local.set 10 (i64.mul (local.get 9) (i64.const 21)))
  (local.set 11 (call $wide (i64.add (local.get 10) (i64.const 1))))
  (i64.add (i64.add (i64.add (local.get 1) (local.get 2)) (i64.add (local.get 3) (local.get 4)))
    (i64.add (i64.add (i64.add (local.get 5) (local.get 6)) (i64.add (local.get 7) (local.get 8)))
      (i64.add (local.get 9) (i64.add (local.get 10) (local.get 11))))))
(func (export "handle") (param i32) (result i32) (drop (call $wide (i64.const 1))) (call $ok))
