#[corymb_macros::main]
struct Program;
