;; row: M8
;; what: has its allocator recurse as deep as itself when the host hands over an answer, again and again on its way down
;; ends: stack
;; own: realloc
(import "wasi:random/random@0.2.0" "get-random-bytes" (func $random (param i64 i32)))
(global $depth (mut i32) (i32.const 0))
(global $next (mut i32) (i32.const 1))
(func $again (param i32) (result i32)
  (if (result i32) (local.get 0)
    (then (i32.add (i32.const 1) (call $again (i32.sub (local.get 0) (i32.const 1)))))
    (else (i32.const 0))))
(func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
  (drop (call $again (global.get $depth))) (i32.const 8192))
(func $deeper (param i32) (result i32)
  (global.set $depth (local.get 0))
  (if (i32.eq (local.get 0) (global.get $next)) (then
    (global.set $next (i32.add (local.get 0) (i32.add (i32.const 1) (i32.shr_u (local.get 0) (i32.const 3)))))
    (call $random (i64.const 8) (i32.const 2048))))
  (i32.add (call $deeper (i32.add (local.get 0) (i32.const 1))) (i32.const 1)))
(func (export "handle") (param i32) (result i32) (drop (call $deeper (i32.const 1))) (call $ok))
