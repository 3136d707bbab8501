;; row: M8
;; what: recurses for ever in the allocator while the host is in a call
;; ends: stack
;; own: realloc
(global $calls (mut i32) (i32.const 0))
(func $deeper (param i32) (result i32)
  (i32.add (call $deeper (i32.add (local.get 0) (i32.const 1))) (i32.const 1)))
(func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
  (drop (call $deeper (i32.const 0))) (i32.const 8192))
(func (export "handle") (param i32) (result i32) (call $ok))
