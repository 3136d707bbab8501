;; row: M3
;; what: the allocator answers with odd addresses
;; ends: abi
;; own: realloc
(func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 8193))
(func (export "handle") (param i32) (result i32) (call $ok))
