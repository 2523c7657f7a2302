//! All children of a `try_scope` fail with the same type.

use corymb::prelude::*;

fn main() {
    let result = run_blocking(try_scope(async |s| {
        s.launch(async { Err("a text") });
        s.launch(async { Err(42_u32) });
        Ok(())
    }));
    assert_eq!(result, Err("a text"));
}
