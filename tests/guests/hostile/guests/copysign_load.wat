;; row: F5
;; what: loads at the very end of memory in the shapes that compilers once read beyond
;; ends: completed
;; advisory: GHSA-vc8c
(func (export "handle") (param i32) (result i32)
  (drop (f64.copysign (f64.const 1) (f64.load (i32.const 65528))))
  (drop (f64x2.extract_lane 0 (f64x2.splat (f64.load (i32.const 65528)))))
  (drop (f32.copysign (f32.const 1) (f32.load (i32.const 65532))))
  (drop (v128.load64_zero (i32.const 65528)))
  (drop (v128.load8_splat (i32.const 65535)))
  (call $ok))
