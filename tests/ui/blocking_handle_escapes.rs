//! The value of a child may borrow what its scope lends, and is not kept for longer.

use corymb::blocking_scope;

fn main() {
    let mut kept = None;
    blocking_scope(|s| {
        kept = Some(s.spawn(async { 1 }));
    });
    drop(kept);
}
