;; row: M3
;; what: answers with as many bytes as memory takes
;; ends: result, memory
(func (export "handle") (param i32) (result i32)
  (block $full (loop $more
    (br_if $full (i32.gt_u (memory.size) (i32.const 1200)))
    (drop (memory.grow (i32.const 16))) (br $more)))
  (drop (call $ok))
  (i32.store (i32.const 1036) (i32.mul (memory.size) (i32.const 65536))) (i32.const 1024))
