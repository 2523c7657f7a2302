//! Children run on other threads.

use std::rc::Rc;

use corymb::prelude::*;
use corymb::scope_with;

fn main() {
    run_blocking(scope_with(1, async |s| {
        let value = Rc::new(1);
        s.launch(async move { drop(value) });
    }));
}
