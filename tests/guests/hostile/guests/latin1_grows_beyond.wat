;; row: M3
;; what: takes a text as Latin-1, and answers with the end of memory when it must grow
;; ends: abi, trap, refused
;; advisory: GHSA-394w-hwhg-8vgm
;; form: component
$TYPES
(component $callee
  (core module $m
    (memory (export "memory") 1)
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (select (i32.const 65532) (i32.const 4096) (local.get 0)))
    (func (export "take") (param i32 i32)))
  (core instance $i (instantiate $m))
  (func $take (param "x" string) (canon lift (core func $i "take") (memory (core memory $i "memory"))
    (realloc (core func $i "cabi_realloc")) string-encoding=latin1+utf16))
  (export "take" (func $take)))
(instance $callee (instantiate $callee))
(alias export $callee "take" (func $take))
(core module $libc (memory (export "memory") 1)
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 16384)))
(core instance $libc (instantiate $libc))
(core func $taken (canon lower (func $take) (memory (core memory $libc "memory"))
  (realloc (core func $libc "cabi_realloc")) ))
(core module $m
  (import "libc" "memory" (memory 1))
  (import "callee" "take" (func $take (param i32 i32)))
  (func (export "handle") (param i32) (result i32)
    (memory.fill (i32.const 2048) (i32.const 97) (i32.const 512)) (i32.store (i32.const 2540) (i32.const 0x8281e3)) (i32.store8 (i32.const 2543) (i32.const 97)) (call $take (i32.const 2048) (i32.const 512))
    (i32.const 1024)))
(core instance $i (instantiate $m (with "libc" (instance $libc))
  (with "callee" (instance (export "take" (func $taken))))))
(type $handle (func (param "job" $job) (result (result (list u8) (error $failure)))))
(func $f (type $handle) (canon lift (core func $i "handle") (memory (core memory $libc "memory"))
  (realloc (core func $libc "cabi_realloc"))))
(export "handle" (func $f))
