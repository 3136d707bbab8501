;; row: M6
;; what: writes into the body of a request that is never sent
;; ends: failed
;; needs: http
;; advisory: GHSA-c9gc
(import "wasi:http/types@0.2.0" "[constructor]fields" (func $fields (result i32)))
(import "wasi:http/types@0.2.0" "[constructor]outgoing-request" (func $request (param i32) (result i32)))
(import "wasi:http/types@0.2.0" "[method]outgoing-request.body" (func $body (param i32 i32)))
(import "wasi:http/types@0.2.0" "[method]outgoing-body.write" (func $write (param i32 i32)))
(import "wasi:io/streams@0.2.0" "[method]output-stream.check-write" (func $check (param i32 i32)))
(import "wasi:io/streams@0.2.0" "[method]output-stream.write" (func $send (param i32 i32 i32 i32)))
(func (export "handle") (param i32) (result i32)
  (local $stream i32)
  (local $request i32)
  (local.set $request (call $request (call $fields)))
  (call $body (local.get $request) (i32.const 512))
  (call $write (i32.load (i32.const 516)) (i32.const 512))
  (local.set $stream (i32.load (i32.const 516)))
  (loop $more
    (call $check (local.get $stream) (i32.const 512))
    (if (i32.load8_u (i32.const 512)) (then (return (call $fail (i32.const 4)))))
    (if (i64.eqz (i64.load (i32.const 520))) (then (return (call $fail (i32.const 5)))))
    (call $send (local.get $stream) (i32.const 8192)
      (select (i32.wrap_i64 (i64.load (i32.const 520))) (i32.const 32768)
        (i64.lt_u (i64.load (i32.const 520)) (i64.const 32768)))
      (i32.const 512))
    (br $more))
  unreachable)
