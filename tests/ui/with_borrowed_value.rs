//! The value of a child may outlive the scope, and so it does not borrow what that owns.

use corymb::prelude::*;
use corymb::scope_with;

fn main() {
    run_blocking(scope_with(String::from("data"), async |s| {
        let text = s.data();
        let value = s.spawn(async move { text.as_str() });
        drop(value.await.to_uppercase());
    }));
}
