;; row: O6
;; what: asks for a secret it may not see, and shows all it is given in log and reason
;; ends: failed
;; needs: secrets
;; holds: secrets
(import "jobcell:job/secrets@0.1.0" "reveal" (func $reveal (param i32 i32 i32)))
(import "jobcell:job/secrets@0.1.0" "placeholder" (func $placeholder (param i32 i32 i32)))
(import "jobcell:job/context@0.1.0" "log" (func $log (param i32 i32)))
(data (i32.const 2048) "canary")
(func (export "handle") (param i32) (result i32)
  (call $reveal (i32.const 2048) (i32.const 6) (i32.const 512))
  (if (i32.eqz (i32.load8_u (i32.const 512))) (then
    (call $log (i32.load (i32.const 520)) (i32.load (i32.const 524)))
    unreachable))
  (call $placeholder (i32.const 2048) (i32.const 6) (i32.const 512))
  (if (i32.load8_u (i32.const 512)) (then (return (call $fail (i32.const 30)))))
  (call $log (i32.load (i32.const 520)) (i32.load (i32.const 524)))
  (drop (call $fail (i32.const 1)))
  (i32.store (i32.const 1040) (i32.load (i32.const 520))) (i32.store (i32.const 1044) (i32.load (i32.const 524)))
  (i32.const 1024))
