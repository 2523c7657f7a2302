//! The tree of live jobs, as text and as numbers.
//!
//! A walk locks one job at a time, for as long as it takes to list its children, and stops
//! nothing: what it shows is true of each job at the moment it was looked at.

use std::fmt::{self, Write as _};
use std::panic::Location;
use std::sync::Arc;

use crate::error::Who;
use crate::job::Job;
use crate::node::waits::{self, What};
use crate::node::{Kind, state};
use crate::wait::WaitKind;

/// Calls `f` with each job at and below `job`, parents first, with its depth, and the number of
/// its children that are only counted.
pub(crate) fn walk(job: &Job, mut f: impl FnMut(usize, &Job, usize)) {
    let mut todo = vec![(0, job.clone())];
    while let Some((depth, job)) = todo.pop() {
        let children = job.children();
        f(depth, &job, job.unlisted());
        todo.extend(children.into_iter().rev().map(|child| (depth + 1, child)));
    }
}

/// How many jobs are looked at for one that is known by its address.
const SEARCH: usize = 10_000;

/// The name of the coroutine whose cell has this address, if it has one of its own and is found
/// below `job` without too long a search. The address is compared, never followed.
pub fn name_of_cell(job: &Job, address: usize) -> Option<Arc<str>> {
    let mut todo = vec![job.clone()];
    for _ in 0..SEARCH {
        let job = todo.pop()?;
        if job.node().as_ptr().addr().get() == address {
            return job.who().name().map(Arc::from);
        }
        todo.extend(job.children());
    }
    None
}

impl Job {
    /// Writes the tree below and including this job, a line each: what it is, its state, its
    /// name, where it was launched, and what it was seen to wait for last.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::prelude::*;
    ///
    /// let tree = run_blocking(scope(async |s| {
    ///     let child = s.coroutine().name("poller").launch(std::future::pending());
    ///     yield_now().await;
    ///     let mut tree = String::new();
    ///     child.dump(&mut tree).unwrap();
    ///     child.cancel();
    ///     tree
    /// }));
    /// assert!(tree.starts_with("coroutine `poller`, active, "));
    /// ```
    ///
    /// # Errors
    ///
    /// Those of `out`.
    pub fn dump(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let mut result = Ok(());
        walk(self, |depth, job, unlisted| {
            result = result.and_then(|()| line(out, depth, job, unlisted));
        });
        result
    }

    /// How many coroutines at and below this job have not ended.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::prelude::*;
    /// use corymb::testing::TestRuntime;
    ///
    /// TestRuntime::new().run(scope(async |s| {
    ///     let children = [s.launch(std::future::pending()), s.launch(std::future::pending())];
    ///     assert_eq!(s.job().coroutines(), 2);
    ///     for child in children {
    ///         child.cancel_and_join().await;
    ///     }
    ///     assert_eq!(s.job().coroutines(), 0);
    /// }));
    /// ```
    pub fn coroutines(&self) -> usize {
        let mut count = 0;
        walk(self, |_, job, unlisted| {
            let live = job.is_coroutine() && !job.is_completed();
            count += unlisted + usize::from(live);
        });
        count
    }

    /// The coroutines at and below this job that have not ended. One that has never suspended is
    /// in no list: for each of them stands the scope that it was launched into.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::prelude::*;
    ///
    /// run_blocking(scope(async |s| {
    ///     let child = s.coroutine().name("poller").launch(std::future::pending());
    ///     assert_eq!(child.unfinished()[0].name(), Some("poller"));
    ///     child.cancel();
    /// }));
    /// ```
    pub fn unfinished(&self) -> Vec<Who> {
        unfinished(self).into_iter().map(|it| it.who).collect()
    }

    fn is_coroutine(&self) -> bool {
        self.node().kind() == Kind::Coroutine
    }
}

/// A coroutine that has not ended, or the scope of one that has never suspended.
#[derive(Debug)]
pub struct Unfinished {
    /// It.
    pub job: Job,
    /// As errors name it.
    pub who: Who,
    /// What was seen of it last.
    pub doing: Option<String>,
}

impl Unfinished {
    /// Whether it has ended since, by force.
    pub fn was_forced(&self) -> bool {
        let seen = self.job.node().state.load();
        seen.has(state::FORCED) && self.job.is_completed()
    }
}

/// The coroutines below `job` that have not ended.
pub fn unfinished(job: &Job) -> Vec<Unfinished> {
    let mut unfinished = Vec::new();
    walk(job, |_, job, unlisted| push(&mut unfinished, job, unlisted));
    unfinished
}

/// As [`unfinished`], without those that wait for others alone: for their children, or, being a
/// service, for its turn to end, nor what is below such a service; or for a worker that drops them.
pub fn late(job: &Job) -> Vec<Unfinished> {
    let mut late = Vec::new();
    let mut service = None;
    walk(job, |depth, job, unlisted| {
        if service.is_some_and(|service| depth > service) {
            return;
        }
        let seen = job.node().state.load();
        let serves = seen.has(state::PASSIVE) && !seen.has(state::CANCELLED);
        service = serves.then_some(depth);
        let waits = serves || job.is_coroutine() && seen.has(state::BODY_DONE);
        if !waits && !is_leaving(job) {
            push(&mut late, job, unlisted);
        }
    });
    late
}

/// Whether it is a coroutine whose next poll is its drop.
fn is_leaving(job: &Job) -> bool {
    let (node, seen) = (job.node(), job.node().state.load());
    let is_cancelled = seen.has(state::CANCELLED) && !seen.has(state::RUNNING);
    job.is_coroutine() && is_cancelled && !node.is_shielded()
}

fn push(unfinished: &mut Vec<Unfinished>, job: &Job, unlisted: usize) {
    if job.is_completed() {
        return;
    }
    let of = |doing| Unfinished { job: job.clone(), who: job.who(), doing };
    match job.is_coroutine() {
        true => unfinished.push(of(doing(job))),
        false => {
            let child = "for a child of it that has not suspended yet";
            unfinished.extend((0..unlisted).map(|_| of(Some(child.into()))));
        }
    }
}

fn line(out: &mut dyn fmt::Write, depth: usize, job: &Job, unlisted: usize) -> fmt::Result {
    let name = job.node().vtable.name;
    let now = job.state();
    write!(out, "{:indent$}{name}", "", indent = depth * 2)?;
    // A name that is inherited says nothing new.
    if let Some(name) = job.who().name() {
        write!(out, " `{name}`")?;
    }
    write!(out, ", {now}, {}", job.launched_at())?;
    if !now.is_completed()
        && let Some(wait) = doing(job)
    {
        write!(out, ", {wait}")?;
    }
    match unlisted {
        0 => {}
        1 => out.write_str(", and 1 child that has not suspended yet")?,
        more => write!(out, ", and {more} children that have not suspended yet")?,
    }
    writeln!(out)
}

/// Whether a coroutine is about to be polled.
pub fn is_ready(job: &Job) -> bool {
    let seen = job.node().state.load();
    seen.has(state::SCHEDULED) && !seen.has(state::RUNNING)
}

/// What a job that has not ended is doing, or was seen to wait for last.
pub fn doing(job: &Job) -> Option<String> {
    let node = job.node();
    let seen = node.state.load();
    if seen.has(state::BODY_DONE) {
        return Some(String::from("waiting for its children"));
    }
    if node.kind() == Kind::Coroutine && seen.has(state::RUNNING | state::SCHEDULED) {
        return Some(match node.wait.get() {
            _ if !seen.has(state::RUNNING) => String::from("ready"),
            Some((WaitKind::Section, place)) => format!("running, last in the section at {place}"),
            _ => String::from("running"),
        });
    }
    let queues = waits::list(node);
    if !queues.is_empty() {
        return Some(in_queues(&queues));
    }
    match node.wait.get() {
        Some((WaitKind::Section, place)) => Some(format!("in the section at {place}")),
        Some((kind, place)) => Some(format!("waiting for {} at {place}", kind.name())),
        None if seen.has(state::CANCELLED) && node.is_shielded() => Some("behind a shield".into()),
        None => None,
    }
}

/// What a job waits for, or has noted last, and where: the same in each run of a program that takes
/// the same decisions.
pub fn waits_of(job: &Job) -> Vec<(&'static str, &'static Location<'static>)> {
    let node = job.node();
    let queues = waits::list(node);
    if queues.is_empty() {
        return node.wait.get().map(|(kind, place)| (kind.name(), place)).into_iter().collect();
    }
    queues.into_iter().map(|(name, What { place, .. })| (name, place)).collect()
}

/// How many waits of one coroutine are shown.
const SHOWN: usize = 3;

fn in_queues(waits: &[(&'static str, What)]) -> String {
    let mut text = String::from("waiting");
    for (name, What { object, place }) in waits.iter().take(SHOWN) {
        let and = if text.len() > "waiting".len() { ", and" } else { "" };
        let _ = write!(text, "{and} for {name} {object:#x} at {place}");
    }
    if let Some(more @ 1..) = waits.len().checked_sub(SHOWN) {
        let _ = write!(text, ", and {more} more");
    }
    text
}
