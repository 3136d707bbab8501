;; row: C7
;; what: a function whose name forges log lines and steers a terminal, in the frames of a trap
;; ends: trap
;; form: bare
(func $evil (@name "\1b]0;owned\07\1b[2J\0aERROR forged\0d") (result i32) (i32.load (i32.const -4)))
(func (export "handle") (param i32) (result i32) (call $evil))
