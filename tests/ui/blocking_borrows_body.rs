//! A child of a blocking scope may outlive its body, so it borrows nothing from it.

use corymb::blocking_scope;

fn main() {
    blocking_scope(|s| {
        let text = String::from("of the body");
        let text = text.as_str();
        s.launch(async move { drop(text.to_uppercase()) });
    });
}
