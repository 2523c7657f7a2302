// What `#[corymb::test]` expands to: the test itself is left out of a program that is no test.
fn main() {
    corymb_testing::run_test("number", async { 1 });
}
