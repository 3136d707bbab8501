;; row: M1
;; what: grows its memory page by page until something stops it
;; ends: memory
(func (export "handle") (param i32) (result i32)
  (loop $more (br_if $more (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))
  (call $fail (i32.const 1)))
