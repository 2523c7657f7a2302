//! Children may go from thread to thread.

use std::rc::Rc;

use corymb::prelude::*;

fn main() {
    run_blocking(scope(async |s| {
        s.launch(async {
            let local = Rc::new(1);
            yield_now().await;
            drop(local);
        });
    }));
}
