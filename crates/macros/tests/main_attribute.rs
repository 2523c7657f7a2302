//! `#[corymb::main]`, with a module that stands for the facade.

/// Stands for `corymb`: `main` checks the options too.
mod corymb {
    pub(crate) mod __private {
        use std::process::{ExitCode, Termination};

        use corymb_testing::TestRuntime;

        #[derive(Debug, Default, PartialEq)]
        pub(crate) struct Options {
            parallelism: Option<usize>,
            name: Option<&'static str>,
        }

        impl Options {
            pub(crate) fn new() -> Self {
                Self::default()
            }

            pub(crate) fn parallelism(self, parallelism: usize) -> Self {
                Self { parallelism: Some(parallelism), ..self }
            }

            pub(crate) fn name(self, name: &'static str) -> Self {
                Self { name: Some(name), ..self }
            }
        }

        pub(crate) fn main<T, F>(options: Options, future: F) -> ExitCode
        where
            T: Termination,
            F: Future<Output = T> + Send + 'static,
        {
            let given = options != Options::new();
            assert!(!given || options == Options::new().parallelism(4).name("x"), "{options:?}");
            TestRuntime::new().run(async { future.await.report() })
        }
    }
}

use std::process::ExitCode;

use corymb_core::yield_now;

mod plain {
    #[corymb_macros::main(crate = "crate::corymb")]
    pub(crate) async fn main() {
        super::yield_now().await;
    }
}

mod with_options {
    use std::error::Error;

    use super::yield_now;

    /// Attributes and visibility stay, and the error need not be `Send`.
    #[must_use]
    #[corymb_macros::main(parallelism = 4, name = "x", crate = "crate::corymb")]
    pub(crate) async fn main() -> Result<(), Box<dyn Error>> {
        yield_now().await;
        let answer: u32 = "forty-two".parse()?;
        unreachable!("{answer}")
    }
}

#[test]
fn main_is_a_plain_function() {
    let main: fn() -> ExitCode = plain::main;
    assert_eq!(format!("{:?}", main()), format!("{:?}", ExitCode::SUCCESS));
}

#[test]
fn options_and_an_error_go_through() {
    assert_eq!(format!("{:?}", with_options::main()), format!("{:?}", ExitCode::FAILURE));
}
