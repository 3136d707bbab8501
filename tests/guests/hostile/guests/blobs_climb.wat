;; row: O5
;; what: reads files outside of its blob store: by dots, by an absolute path, by encoded slashes
;; ends: completed
;; needs: blobs
(import "jobcell:job/blobs@0.1.0" "get" (func $get (param i32 i32 i32 i32 i32)))
(data (i32.const 2048) "files")
(data (i32.const 2064) "../../../../../../etc/passwd")
(data (i32.const 2112) "/etc/passwd")
(data (i32.const 2144) "a/%2e%2e/%2e%2e/etc/passwd")
(data (i32.const 2192) "a\\..\\..\\etc\\passwd\00.txt")
(func $try (param $at i32) (param $len i32)
  (call $get (i32.const 2048) (i32.const 5) (local.get $at) (local.get $len) (i32.const 512))
  ;; Anything but an error would be a file that was read.
  (if (i32.eqz (i32.load8_u (i32.const 512))) (then unreachable)))
(func (export "handle") (param i32) (result i32)
  (call $try (i32.const 2064) (i32.const 28)) (call $try (i32.const 2112) (i32.const 11))
  (call $try (i32.const 2144) (i32.const 26)) (call $try (i32.const 2192) (i32.const 23))
  (call $ok))
