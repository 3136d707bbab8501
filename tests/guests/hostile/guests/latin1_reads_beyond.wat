;; row: M3
;; what: hands a UTF-16 text at the very end of memory to one that takes Latin-1 or UTF-16
;; ends: abi, trap, refused, completed
;; advisory: GHSA-hx6p-xpx3-jvvv
;; form: component
$TYPES
(component $callee
  (core module $m
    (memory (export "memory") 1)
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 4096))
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
  (realloc (core func $libc "cabi_realloc")) string-encoding=utf16))
(core module $m
  (import "libc" "memory" (memory 1))
  (import "callee" "take" (func $take (param i32 i32)))
  (func (export "handle") (param i32) (result i32)
    (i32.store16 (i32.const 65532) (i32.const 0x3042)) (i32.store16 (i32.const 65534) (i32.const 0x61)) (call $take (i32.const 65532) (i32.const 2)) (call $take (i32.const 65532) (i32.const 64))
    (i32.const 1024)))
(core instance $i (instantiate $m (with "libc" (instance $libc))
  (with "callee" (instance (export "take" (func $taken))))))
(type $handle (func (param "job" $job) (result (result (list u8) (error $failure)))))
(func $f (type $handle) (canon lift (core func $i "handle") (memory (core memory $libc "memory"))
  (realloc (core func $libc "cabi_realloc"))))
(export "handle" (func $f))
