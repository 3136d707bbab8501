;; row: M4
;; what: makes resources of its own without end
;; ends: resources
;; advisory: GHSA-q554
;; form: component
$TYPES
(type $thing (resource (rep i32)))
(core func $new (canon resource.new $thing))
(core module $m
  (import "host" "new" (func $new (param i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 16384))
  (func (export "handle") (param i32) (result i32)
    (local $i i32)
    (loop $more
      (drop (call $new (local.get $i)))
      (br_if $more (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 10000000))))
    (i32.const 1024)))
(core instance $i (instantiate $m (with "host" (instance (export "new" (func $new))))))
(type $handle (func (param "job" $job) (result (result (list u8) (error $failure)))))
(func $f (type $handle) (canon lift (core func $i "handle") (memory (core memory $i "memory"))
  (realloc (core func $i "cabi_realloc"))))
(export "handle" (func $f))
