//! Children of a blocking scope run on other threads.

use std::rc::Rc;

use corymb::blocking_scope;

fn main() {
    let value = Rc::new(1);
    blocking_scope(|s| {
        s.launch(async { drop(Rc::clone(&value)) });
    });
}
