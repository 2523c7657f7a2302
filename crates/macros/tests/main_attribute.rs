//! `#[corymb::main]`, with a module that stands for the facade.

/// Stands for `corymb`: `main` checks the options too.
mod corymb {
    pub(crate) mod __private {
        use std::process::{ExitCode, Termination};
        use std::time::Duration;

        use corymb_testing::TestRuntime;

        #[derive(Debug, Default, PartialEq)]
        pub(crate) struct Options {
            parallelism: Option<usize>,
            name: Option<&'static str>,
            grace: Option<Duration>,
            signals: Option<bool>,
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

            pub(crate) fn grace(self, grace: Duration) -> Self {
                Self { grace: Some(grace), ..self }
            }

            pub(crate) fn signals(self, signals: bool) -> Self {
                Self { signals: Some(signals), ..self }
            }
        }

        pub(crate) fn main<T, F>(options: Options, future: F) -> ExitCode
        where
            T: Termination,
            F: Future<Output = T> + Send + 'static,
        {
            let all = Options::new().parallelism(4).name("x").signals(false);
            let known = [
                Options::new(),
                all,
                Options::new().grace(Duration::from_millis(1500)),
                Options::new().grace(Duration::from_secs(120)).signals(true),
            ];
            assert!(known.contains(&options), "{options:?}");
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

mod with_graces {
    #[corymb_macros::main(grace = "1500ms", crate = "crate::corymb")]
    pub(crate) async fn main() {}

    pub(crate) mod long {
        #[corymb_macros::main(grace = "2min", signals = true, crate = "crate::corymb")]
        pub(crate) async fn main() {}
    }
}

mod with_options {
    use std::error::Error;

    use super::yield_now;

    /// Attributes and visibility stay, and the error need not be `Send`.
    #[must_use]
    #[corymb_macros::main(parallelism = 4, name = "x", signals = false, crate = "crate::corymb")]
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

#[test]
fn graces_have_units() {
    for main in [with_graces::main, with_graces::long::main] {
        assert_eq!(format!("{:?}", main()), format!("{:?}", ExitCode::SUCCESS));
    }
}
