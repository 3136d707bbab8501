;; row: F2
;; what: looks for variables, arguments and the folder of the host's process
;; ends: completed
(import "wasi:cli/environment@0.2.0" "get-environment" (func $environment (param i32)))
(import "wasi:cli/environment@0.2.0" "get-arguments" (func $arguments (param i32)))
(import "wasi:cli/environment@0.2.0" "initial-cwd" (func $cwd (param i32)))
(func (export "handle") (param i32) (result i32)
  (call $environment (i32.const 512))
  (if (i32.load (i32.const 516)) (then (return (call $fail (i32.const 51)))))
  (call $arguments (i32.const 512))
  (if (i32.load (i32.const 516)) (then (return (call $fail (i32.const 52)))))
  (call $cwd (i32.const 512))
  (if (i32.load8_u (i32.const 512)) (then (return (call $fail (i32.const 53)))))
  (call $ok))
