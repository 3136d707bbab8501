;; row: N7
;; what: opens a TCP connection of its own
;; payload: port
;; ends: completed
;; holds: shut
(import "wasi:sockets/tcp-create-socket@0.2.0" "create-tcp-socket" (func $socket (param i32 i32)))
(import "wasi:sockets/tcp@0.2.0" "[method]tcp-socket.start-connect" (func $connect (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)))
(import "wasi:sockets/instance-network@0.2.0" "instance-network" (func $network (result i32)))
(func (export "handle") (param $job i32) (result i32)
  (local $data i32)
  (call $socket (i32.const 0) (i32.const 512))
  (if (i32.load8_u (i32.const 512)) (then (return (call $ok))))
  (local.set $data (i32.load offset=24 (local.get $job)))
  ;; The payload begins with the port of a listener that nobody may reach.
  (call $connect (i32.load (i32.const 516)) (call $network) (i32.const 0)
    (i32.load16_u (local.get $data)) (i32.const 127) (i32.const 0) (i32.const 0) (i32.const 1)
    (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 512))
  (if (i32.load8_u (i32.const 512)) (then (return (call $ok))))
  (call $fail (i32.const 40)))
