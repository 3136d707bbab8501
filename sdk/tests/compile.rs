//! What the macros refuse, and in which words: each program in `fail/` must not compile, with exactly the text beside it.
//!
//! After a deliberate change of the words run with `TRYBUILD=overwrite` and read the difference.

#[test]
fn faults_are_explained() {
    trybuild::TestCases::new().compile_fail("tests/fail/*.rs");
}
