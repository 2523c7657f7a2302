//! Children may outlive the future of their scope, so they borrow nothing.

use corymb::prelude::*;

fn main() {
    let text = String::from("borrowed");
    run_blocking(scope(async |s| {
        s.launch(async { drop(text.len()) });
    }));
}
