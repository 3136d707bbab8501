;; row: F7
;; what: a new version that imports more than the handler was granted
;; ends: completed
;; needs: http, blobs, cache, enqueue, publish, secrets
(import "jobcell:job/publish@0.1.0" "publish" (func $publish (param i32 i32 i32 i32 i32)))
(import "jobcell:job/cache@0.1.0" "delete" (func $delete (param i32 i32 i32)))
(import "jobcell:job/jobs@0.1.0" "enqueue" (func $enqueue (param i32 i32)))
(import "jobcell:job/secrets@0.1.0" "placeholder" (func $placeholder (param i32 i32 i32)))
(import "jobcell:job/blobs@0.1.0" "get" (func $get (param i32 i32 i32 i32 i32)))
(import "wasi:http/types@0.2.0" "[constructor]fields" (func $fields (result i32)))
(func (export "handle") (param i32) (result i32) (call $ok))
