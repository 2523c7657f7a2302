//! Neither is its handle kept for longer.

use corymb::prelude::*;
use corymb::scope_with;

fn main() {
    let handle = run_blocking(scope_with(1, async |s| s));
    drop(handle);
}
