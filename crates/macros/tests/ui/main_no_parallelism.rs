#[corymb_macros::main(parallelism = 0)]
async fn main() {}
