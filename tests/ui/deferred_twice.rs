//! A value is there once.

use corymb::prelude::*;

fn main() {
    run_blocking(scope(async |s| {
        let child = s.spawn(async { 1 });
        let one = child.await;
        one + child.await
    }));
}
