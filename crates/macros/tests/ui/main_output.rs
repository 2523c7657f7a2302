mod corymb {
    pub mod __private {
        pub struct Options;
        impl Options {
            pub fn new() -> Self {
                Self
            }
        }
        pub fn main<T, F: Future<Output = T>>(_: Options, _: F) -> std::process::ExitCode {
            unimplemented!()
        }
    }
}

#[corymb_macros::main(crate = "corymb")]
async fn main() -> Result<(), String> {
    42
}
