//! The handle of a local scope names what its children borrow, and is not kept for longer.

use corymb::local_scope;
use corymb::prelude::*;

fn main() {
    let mut kept = None;
    {
        let text = String::from("gone soon");
        run_blocking(local_scope(async |s| {
            s.launch(async { drop(text.as_str()) });
            kept = Some(s);
        }));
    }
    drop(kept);
}
