//! What a scope owns is not borrowed for longer than the scope.

use corymb::prelude::*;
use corymb::scope_with;

fn main() {
    let mut kept = None;
    run_blocking(scope_with(String::from("data"), async |s| kept = Some(s.data())));
    drop(kept);
}
