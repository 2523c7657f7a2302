#[corymb_macros::main]
async fn main<T>() {}
