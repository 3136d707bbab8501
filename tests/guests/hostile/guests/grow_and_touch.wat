;; row: M1
;; what: grows and writes to every page, so that the host has to find it
;; ends: memory, deadline, cpu
(func (export "handle") (param i32) (result i32)
  (local $at i32)
  (loop $more
    (local.set $at (i32.mul (memory.size) (i32.const 65536)))
    (drop (memory.grow (i32.const 16)))
    (memory.fill (local.get $at) (i32.const 255) (i32.const 1048576))
    (br $more))
  unreachable)
