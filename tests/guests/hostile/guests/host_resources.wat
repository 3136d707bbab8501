;; row: M5
;; what: takes stdout again and again, each time as a new resource of the host
;; ends: resources
;; advisory: GHSA-852m
(import "wasi:cli/stdout@0.2.0" "get-stdout" (func $stdout (result i32)))
(func (export "handle") (param i32) (result i32)
  (local $i i32)
  (loop $more
    (drop (call $stdout))
    (br_if $more (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 1000000))))
  (call $ok))
