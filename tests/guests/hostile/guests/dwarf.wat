;; row: C7
;; what: broken debug information, and a trap that would have it read
;; ends: trap
;; form: bare
(func (export "handle") (param i32) (result i32) (i32.load (i32.const -4)))
(@custom ".debug_info" "\ff\ff\ff\ff\ff\ff\ff\ff\05\00\01\08\00\00\00\00\ff\ff\ff\ff")
(@custom ".debug_abbrev" "\01\11\01\25\0e\13\05\03\0e\10\17\1b\0e\ff\ff\ff\ff\0f")
(@custom ".debug_line" "\ff\ff\ff\7f\05\00\08\00\ff\ff\ff\ff\01\fb\0e\0d")
(@custom ".debug_str" "\ff\ff\ff\ff\ff\ff")
(@custom ".debug_ranges" "\ff\ff\ff\ff\ff\ff")
