#[corymb_macros::main]
async fn main(arguments: Vec<String>) {}
