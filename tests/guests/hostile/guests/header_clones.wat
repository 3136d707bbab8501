;; row: M6
;; what: fills header fields and clones them without end
;; ends: resources
;; needs: http
(import "wasi:http/types@0.2.0" "[constructor]fields" (func $fields (result i32)))
(import "wasi:http/types@0.2.0" "[method]fields.append" (func $append (param i32 i32 i32 i32 i32 i32)))
(import "wasi:http/types@0.2.0" "[method]fields.clone" (func $clone (param i32) (result i32)))
(func (export "handle") (param i32) (result i32)
  (local $fields i32)
  (local.set $fields (call $fields))
  (i32.store8 (i32.const 2048) (i32.const 97))
  (memory.fill (i32.const 4096) (i32.const 98) (i32.const 4096))
  (call $append (local.get $fields) (i32.const 2048) (i32.const 1) (i32.const 4096) (i32.const 4096) (i32.const 512))
  (loop $more (drop (call $clone (local.get $fields))) (br $more))
  unreachable)
