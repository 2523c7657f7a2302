//! The tree of live jobs as text.

use corymb_core::Job;

/// What is alive at and below `root`, a line for each job.
pub(crate) fn tree(root: &Job) -> String {
    let mut text = String::new();
    root.dump(&mut text).expect("a String takes everything");
    text
}
