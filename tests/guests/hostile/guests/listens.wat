;; row: N7
;; what: binds a TCP socket of its own
;; ends: completed
(import "wasi:sockets/tcp-create-socket@0.2.0" "create-tcp-socket" (func $socket (param i32 i32)))
(import "wasi:sockets/tcp@0.2.0" "[method]tcp-socket.start-bind" (func $bind (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)))
(import "wasi:sockets/instance-network@0.2.0" "instance-network" (func $network (result i32)))
(func (export "handle") (param $job i32) (result i32)
  (call $socket (i32.const 0) (i32.const 512))
  (if (i32.load8_u (i32.const 512)) (then (return (call $ok))))
  (call $bind (i32.load (i32.const 516)) (call $network) (i32.const 0)
    (i32.const 0) (i32.const 127) (i32.const 0) (i32.const 0) (i32.const 1)
    (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 512))
  (if (i32.load8_u (i32.const 512)) (then (return (call $ok))))
  (call $fail (i32.const 41)))
