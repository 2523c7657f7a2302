#[corymb_macros::main(parallelism = "4")]
async fn main() {}
