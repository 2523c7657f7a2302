//! A child of a local scope goes with its coroutine from thread to thread.

use std::rc::Rc;

use corymb::local_scope;
use corymb::prelude::*;

fn main() {
    run_blocking(local_scope(async |s| {
        let value = Rc::new(1);
        s.launch(async move { drop(value) });
    }));
}
