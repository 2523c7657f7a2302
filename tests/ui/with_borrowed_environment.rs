//! A child borrows what its scope owns, and nothing else.

use corymb::prelude::*;
use corymb::scope_with;

fn main() {
    let text = String::from("of the caller");
    let text = text.as_str();
    run_blocking(scope_with(1, async move |s| {
        s.launch(async move { drop(text.to_uppercase()) });
    }));
}
