#[corymb_macros::main]
fn main() {}
