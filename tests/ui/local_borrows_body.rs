//! A child of a local scope may outlive its body, so it borrows nothing from it.

use corymb::local_scope;
use corymb::prelude::*;

fn main() {
    run_blocking(local_scope(async |s| {
        let text = String::from("of the body");
        let text = text.as_str();
        s.launch(async move { drop(text.to_uppercase()) });
    }));
}
