//! What must not compile, and what the compiler says then.

#[test]
#[cfg_attr(miri, ignore = "miri starts no processes")]
fn misuse_does_not_compile() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
