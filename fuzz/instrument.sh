#!/bin/sh
# Stands before rustc for the packages of this workspace (RUSTC_WORKSPACE_WRAPPER): adds to libraries and programs the
# counters that libFuzzer reads. What runs in the compiler, macros and build scripts, stays as it is.
for word in "$@"; do
    case "$word" in
        proc-macro | build_script_*) exec "$@" ;;
    esac
done
# Without a crate it is a question about the compiler itself.
case " $* " in
    *" --crate-name "*) ;;
    *) exec "$@" ;;
esac
exec "$@" --cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares
