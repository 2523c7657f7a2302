//! What is not `Send` stays on its thread, and so does the scope that has it.

use corymb::local_scope_unsend;
use corymb::prelude::*;

fn main() {
    run_blocking(scope(async |s| {
        s.launch(local_scope_unsend(async |s| s.launch(yield_now())));
    }));
}
