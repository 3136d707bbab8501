;; row: M1
;; what: four modules, each with a memory, that grow by turns beyond what one may have
;; ends: memory
;; form: component
$TYPES
(core module $more (memory (export "memory") 1)
  (func (export "grow") (loop (br_if 0 (i32.lt_u (memory.grow (i32.const 1)) (i32.const 100000))))))
(core instance $a (instantiate $more))
(core instance $b (instantiate $more))
(core instance $c (instantiate $more))
(core module $m
  (import "a" "grow" (func $a)) (import "b" "grow" (func $b)) (import "c" "grow" (func $c))
  (memory (export "memory") 1)
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 16384))
  (func (export "handle") (param i32) (result i32) (call $a) (call $b) (call $c) (i32.const 1024)))
(core instance $i (instantiate $m
  (with "a" (instance $a)) (with "b" (instance $b)) (with "c" (instance $c))))
(type $handle (func (param "job" $job) (result (result (list u8) (error $failure)))))
(func $f (type $handle) (canon lift (core func $i "handle") (memory (core memory $i "memory"))
  (realloc (core func $i "cabi_realloc"))))
(export "handle" (func $f))
