#[corymb_macros::main(parallelism = 4, name = "x", parallelism = 2)]
async fn main() {}
