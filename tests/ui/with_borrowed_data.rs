//! What a scope owns borrows nothing: it may outlive the caller.

use corymb::prelude::*;
use corymb::scope_with;

fn main() {
    let text = String::from("borrowed");
    run_blocking(scope_with(text.as_str(), async |s| {
        let text = s.data();
        s.launch(async move { drop(text.to_uppercase()) });
    }));
}
