;; row: C6
;; what: uses asynchronous components
;; ends: refused
;; form: component
$TYPES
(core module $m (memory (export "memory") 1)
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 16384))
  (func (export "handle") (param i32) (result i32) (i32.const 1024)))
(core instance $i (instantiate $m))
(core func $yield (canon context.get i32 0))
(core func $task (canon backpressure.inc))
(type $handle (func (param "job" $job) (result (result (list u8) (error $failure)))))
(func $f (type $handle) (canon lift (core func $i "handle") (memory (core memory $i "memory"))
  (realloc (core func $i "cabi_realloc"))))
(export "handle" (func $f))
