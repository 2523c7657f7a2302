//! The errors of the attributes, as their users see them.

#[test]
fn errors_name_what_is_wrong_and_the_remedy() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
