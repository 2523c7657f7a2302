//! The tree of live jobs as text.

use std::fmt::Write as _;

use corymb_core::Job;

/// What is alive below `root`: a line for each job, its children indented under it.
pub(crate) fn tree(root: &Job) -> String {
    let mut text = String::new();
    let mut stack: Vec<_> = below(root, 1).collect();
    if root.unlisted() > 0 {
        writeln!(text, "  {}", unlisted(root)).expect("a String takes everything");
    }
    while let Some((depth, parent, job)) = stack.pop() {
        writeln!(text, "{:width$}- {}", "", line(&parent, &job), width = depth * 2)
            .expect("a String takes everything");
        stack.extend(below(&job, depth + 1));
    }
    text
}

/// The children with their depth and parent, the youngest first: the oldest is popped first.
fn below(job: &Job, depth: usize) -> impl Iterator<Item = (usize, Job, Job)> {
    let parent = job.clone();
    job.children().into_iter().rev().map(move |child| (depth, parent.clone(), child))
}

fn line(parent: &Job, job: &Job) -> String {
    let mut line = String::new();
    // A name that is inherited says nothing new.
    if let Some(name) = job.name().filter(|name| parent.name().as_ref() != Some(name)) {
        line = format!("`{name}` ");
    }
    line += &format!("{}, launched at {}", job.state(), job.launched_at());
    if job.unlisted() > 0 {
        line += &format!(", with {}", unlisted(job));
    }
    line
}

fn unlisted(job: &Job) -> String {
    match job.unlisted() {
        1 => "1 child that has not suspended yet".into(),
        n => format!("{n} children that have not suspended yet"),
    }
}
