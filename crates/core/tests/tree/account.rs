//! What became of the failures of a program.
//!
//! Each is given to somebody who asked for it, or reported, or is suppressed by one of these: once.

use crate::model::{Model, What};
use crate::program::{Event, Failed, Outcome, Tag};

#[derive(Default)]
pub(crate) struct Account {
    happened: Vec<Tag>,
    seen: Vec<Tag>,
}

impl Account {
    /// Takes note of what the kernel has told.
    pub(crate) fn add(&mut self, event: &Event, model: &Model) -> Result<(), String> {
        match event {
            Event::Failed(tag) => self.happened.push(*tag),
            Event::Report(failed) => self.see(failed),
            Event::Left(tag) | Event::Gave(_, Outcome::Caught(tag)) => self.seen.push(*tag),
            Event::Gave(_, Outcome::Errors(errors)) => {
                self.seen.extend(errors.iter().map(|error| Tag::Error(Some(*error))));
            }
            Event::Gave(id, Outcome::Panicked(failed)) => {
                let What::Await { child, .. } = model.at(*id).what else {
                    return Err(format!("{id} is no await, and gave {failed:?}"));
                };
                // That of a child whose scope has the panic is a copy.
                match model.at(child).stays {
                    true => self.see(failed),
                    false if failed.later.is_empty() => {}
                    false => return Err(format!("the copy for {id} is not alone: {failed:?}")),
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn see(&mut self, failed: &Failed) {
        let is_failure = |tag: &Tag| !matches!(tag, Tag::CleanupDropped { .. });
        self.seen.extend(failed.all().filter(is_failure));
    }

    /// At the end of a program.
    pub(crate) fn check(mut self, model: &Model) -> Result<(), String> {
        // Whoever had their handles did not ask, or asked for the value.
        let all = model.nodes.iter().flatten().filter(|it| it.stays);
        all.filter_map(|it| it.panic.as_ref()).for_each(|it| self.see(it));

        let nameless = |seen: &Tag| *seen == Tag::Error(None);
        let unnamed = self.seen.iter().filter(|it| nameless(it)).count();
        self.seen.retain(|it| !nameless(it));
        for seen in &self.seen {
            match self.happened.iter().position(|it| it == seen) {
                Some(at) => drop(self.happened.swap_remove(at)),
                None => return Err(format!("{seen:?} was seen twice, or never happened")),
            }
        }
        let is_error = |it: &Tag| matches!(it, Tag::Error(_));
        match self.happened.len() == unnamed && self.happened.iter().all(is_error) {
            true => Ok(()),
            false => Err(format!("{:?} got lost, but for {unnamed} errors", self.happened)),
        }
    }
}
