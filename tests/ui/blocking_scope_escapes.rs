//! A reference to a blocking scope is of no use after its end: not through what the caller has.

use std::cell::Cell;

use corymb::{BlockingScope, blocking_scope};

fn main() {
    let kept: Cell<Option<&BlockingScope<'_, '_>>> = Cell::new(None);
    blocking_scope(|s| kept.set(Some(s)));
}
