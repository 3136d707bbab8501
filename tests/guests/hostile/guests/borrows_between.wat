;; row: M4
;; what: lends one resource to another component of its own without end
;; ends: abi, resources
;; advisory: GHSA-6fr9
;; form: component
$TYPES
(component $callee
  (type $thing' (resource (rep i32)))
  (export $thing "thing" (type $thing'))
  (core func $new (canon resource.new $thing'))
  (core func $drop (canon resource.drop $thing'))
  (core module $m
    (import "host" "new" (func $new (param i32) (result i32)))
    (func (export "make") (result i32) (call $new (i32.const 7)))
    (func (export "use") (param i32)))
  (core instance $i (instantiate $m (with "host" (instance (export "new" (func $new))))))
  (func (export "make") (result (own $thing)) (canon lift (core func $i "make")))
  (func (export "use") (param "x" (borrow $thing)) (canon lift (core func $i "use"))))
(instance $callee (instantiate $callee))
(alias export $callee "thing" (type $thing))
(alias export $callee "make" (func $make))
(alias export $callee "use" (func $use))
(core func $made (canon lower (func $make)))
(core func $used (canon lower (func $use)))
(core module $m
  (import "callee" "make" (func $make (result i32)))
  (import "callee" "use" (func $use (param i32)))
  (memory (export "memory") 1)
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 16384))
  (func (export "handle") (param i32) (result i32)
    (local $thing i32)
    (local.set $thing (call $make))
    (loop $more (call $use (local.get $thing)) (br $more))
    unreachable))
(core instance $i (instantiate $m
  (with "callee" (instance (export "make" (func $made)) (export "use" (func $used))))))
(type $handle (func (param "job" $job) (result (result (list u8) (error $failure)))))
(func $f (type $handle) (canon lift (core func $i "handle") (memory (core memory $i "memory"))
  (realloc (core func $i "cabi_realloc"))))
(export "handle" (func $f))
