#[corymb_macros::main]
async fn start() {}
