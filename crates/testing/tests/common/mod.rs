//! What several of the tests need.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// The text of the panic that `f` ends with.
#[track_caller]
pub(crate) fn failure<R>(f: impl FnOnce() -> R) -> String {
    let Err(payload) = catch_unwind(AssertUnwindSafe(f)) else { panic!("it did not fail") };
    match payload.downcast::<String>() {
        Ok(text) => *text,
        Err(payload) => (*payload.downcast::<&str>().expect("a panic with a text")).into(),
    }
}
