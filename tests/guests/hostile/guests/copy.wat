;; row: T3
;; what: copies half of its memory over the other half, again and again
;; ends: deadline, cpu
(func (export "handle") (param i32) (result i32)
  (local $half i32)
  (drop (memory.grow (i32.const 15)))
  (local.set $half (i32.mul (memory.size) (i32.const 32768)))
  (loop $again
    (memory.copy (local.get $half) (i32.const 0) (local.get $half))
    (memory.copy (i32.const 0) (local.get $half) (local.get $half))
    (br $again))
  unreachable)
