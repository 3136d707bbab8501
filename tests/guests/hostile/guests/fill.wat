;; row: T3
;; what: fills the largest memory it can get, again and again, without a branch inside
;; ends: deadline, cpu
;; memory: 1
(func (export "handle") (param i32) (result i32)
  (drop (memory.grow (i32.const 15)))
  (loop $again
    (memory.fill (i32.const 8192) (i32.const 1) (i32.sub (i32.mul (memory.size) (i32.const 65536)) (i32.const 8192)))
    (br $again))
  unreachable)
