//! Random programs, run by the kernel and by a model of it.
//!
//! A program opens scopes of all kinds in each other, launches coroutines, has them return, fail and
//! panic, cancels, drops and forgets, and lets time pass. After each step kernel and model have to
//! agree: on the state and cause of each job, and on what happened since the step before: what was
//! dropped, what ended how, what each scope and await gave, and what was reported. At the end no
//! job, no future and no memory is left, and each failure was seen, once.
//!
//! - `PROPTEST_CASES=100000 cargo test --release -p corymb-core --test tree` runs so many programs,
//! - `PROPTEST_RNG_SEED=7` the same ones each time.

mod account;
#[expect(dead_code, reason = "shared with the other tests")]
#[path = "../common/mod.rs"]
mod common;
#[path = "../memory.rs"]
mod memory;
mod model;
mod program;
mod resolve;
mod run;

use std::any::Any;
use std::collections::HashSet;
use std::fmt::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};

use corymb_core::JobState;
use proptest::prelude::*;

use account::Account;
use model::{Model, TICK, What};
use program::{Act, Cause, Event, Id, Order, Outcome, Program, ROOT, Step, Watch};
use resolve::{Resolver, bodies, fits, forgotten};
use run::Real;

/// Kernel and model, side by side.
struct Pair {
    real: Real,
    model: Model,
    /// What was done.
    story: String,
    steps: Vec<Step>,
    ended: HashSet<Id>,
    gone: HashSet<Id>,
    failures: Account,
}

impl Pair {
    fn new() -> Self {
        Self {
            real: Real::new(),
            model: Model::new(),
            story: String::new(),
            steps: Vec::new(),
            ended: HashSet::new(),
            gone: HashSet::new(),
            failures: Account::default(),
        }
    }

    fn order(&mut self, order: Order) {
        let who = order.by.map_or("the test".into(), |body| format!("body {body}"));
        let _written = writeln!(self.story, "  {who}: {:?}", order.act);
        self.model.order(&order);
        self.real.order(order);
    }

    /// Lets all come to rest, and compares.
    fn settle(&mut self) -> Result<(), String> {
        self.story.push_str("  run\n");
        self.model.settle();
        self.real.settle();
        self.compare()
    }

    /// Lets time pass, with a stop at each deadline.
    fn pass(&mut self, to: u64) -> Result<(), String> {
        self.settle()?;
        while self.model.now < to {
            let due = self.model.next_due(to).map_or(to, |due| due + TICK);
            self.order(Order { by: None, act: Act::Advance(due.min(to)) });
            self.settle()?;
        }
        Ok(())
    }

    fn compare(&mut self) -> Result<(), String> {
        let events = self.real.events();
        self.check_order(&events)?;
        let expected = std::mem::take(&mut self.model.log);
        same_events(&events, &expected)?;
        for event in &events {
            self.failures.add(event, &self.model)?;
        }
        for (id, state, cause) in self.real.jobs() {
            let node = self.model.at(id);
            let expected = match (node.ended, node.failed || node.cause.is_some(), node.closed) {
                (false, false, _) if node.is_new => JobState::New,
                (true, true, _) => JobState::Cancelled,
                (true, false, _) => JobState::Completed,
                (false, true, _) => JobState::Cancelling,
                (false, false, true) => JobState::Completing,
                (false, false, false) => JobState::Active,
            };
            if (state, cause) != (expected, node.cause) {
                return Err(format!(
                    "job {id} is {state}, {cause:?}; expected {expected}, {:?}",
                    node.cause
                ));
            }
        }
        Ok(())
    }

    /// The order that is promised: what is cancelled is told before its end; a coroutine ends after
    /// its body, any job after those below it, and who waits for it learns of it after that.
    fn check_order(&mut self, events: &[Event]) -> Result<(), String> {
        for event in events {
            match *event {
                Event::Gone(body) if self.gone.insert(body) => {}
                Event::Gone(body) => return Err(format!("body {body} was dropped twice")),
                Event::Cancelling(id, cause) => {
                    let node = self.model.at(id);
                    let is_late = cause == Cause::ScopeEnded || node.what == What::Token;
                    if self.ended.contains(&id) && !is_late {
                        return Err(format!("{id} was told of its cancellation after its end"));
                    }
                }
                Event::Ended(id, _) => self.check_end(id)?,
                // A timeout is no scope: the panic of its body goes on at once.
                Event::Gave(id, Outcome::Caught(_)) if self.model.at(id).is_timeout() => {}
                Event::Gave(id, _) => {
                    let job = match self.model.at(id).what {
                        What::Await { child, .. } => child,
                        _ => id,
                    };
                    let node = self.model.at(job);
                    let is_told = node.made && node.watch == Watch::Handlers;
                    if is_told && !self.ended.contains(&job) {
                        return Err(format!("{id} gave something before {job} had ended"));
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn check_end(&mut self, id: Id) -> Result<(), String> {
        let node = self.model.at(id);
        if !self.ended.insert(id) {
            return Err(format!("{id} ended twice"));
        }
        if node.what == What::Coroutine && !self.gone.contains(&id) {
            return Err(format!("coroutine {id} ended before its body was gone"));
        }
        let mut at = id;
        while at != ROOT && node.what != What::Token {
            at = self.model.at(at).parent;
            if self.ended.contains(&at) {
                return Err(format!("{id} ended after {at}, which is above it"));
            }
        }
        Ok(())
    }

    /// Ends what is left, step by step.
    fn end(&mut self, shut_down: bool) -> Result<(), String> {
        if shut_down {
            self.story.push_str("  shut down\n");
            self.model.shut_down();
            self.real.shut_down();
        }
        self.settle()?;
        // A cleanup may begin after another one, and a body that is held take no orders.
        for _ in 0..1_000 {
            for region in forgotten(&self.model) {
                self.order(Order { by: None, act: Act::DropForgotten(region) });
                self.settle()?;
            }
            let bodies = bodies(&self.model);
            if bodies.is_empty() {
                return std::mem::take(&mut self.failures).check(&self.model);
            }
            for body in bodies.into_iter().rev() {
                if self.model.at(body).body.is_some() {
                    self.order(Order { by: Some(body), act: Act::Return(0) });
                    self.settle()?;
                }
            }
        }
        Err("it does not end".into())
    }

    fn step(&mut self, step: Step) -> Result<(), String> {
        self.steps.push(step.clone());
        if let Act::Advance(to) = step.order.act {
            return self.pass(to);
        }
        self.order(step.order);
        if step.at_once { Ok(()) } else { self.settle() }
    }

    fn run(&mut self, program: &Program) -> Result<(), String> {
        let mut resolver = Resolver::new();
        for op in &program.ops {
            if let Some(order) = resolver.resolve(op, &self.model) {
                self.step(Step { order, at_once: op.at_once })?;
            }
        }
        self.end(program.shut_down)
    }

    /// Takes the steps of a program, as far as there is still what they are about.
    fn replay(&mut self, steps: &[Step], shut_down: bool) -> Result<(), String> {
        for step in steps {
            if fits(&step.order, &self.model) {
                self.step(step.clone())?;
            }
        }
        self.end(shut_down)
    }
}

fn same_events(events: &[Event], expected: &[Event]) -> Result<(), String> {
    let sorted = |events: &[Event]| {
        let mut events = events.to_vec();
        events.sort_unstable();
        events
    };
    match sorted(events) == sorted(expected) {
        true => Ok(()),
        false => Err(format!("the kernel: {events:?}\n  the model:  {expected:?}")),
    }
}

/// Runs a program, and compares what this thread holds of the heap before and after it. An error
/// comes with what was done.
fn check(run: impl Fn(&mut Pair) -> Result<(), String>) -> Result<(), (String, Vec<Step>)> {
    let run = || {
        let mut pair = Pair::new();
        // One of the model or of the kernel is a failure as others are.
        let ran = catch_unwind(AssertUnwindSafe(|| run(&mut pair)));
        let ran = ran.unwrap_or_else(|payload| Err(format!("a panic: {}", text(&*payload))));
        let Pair { real, story, steps, .. } = pair;
        let ended = match ran {
            Ok(()) => real.close(),
            Err(why) => {
                // It may be in any state.
                std::mem::forget(real);
                Err(why)
            }
        };
        ended.map_err(|why| (format!("{why}\nafter\n{story}"), steps))
    };
    // The timers keep what they need, for the next runtime: that has it then.
    let (result, kept) = match memory::kept_by(run) {
        (Ok(()), kept) if kept != memory::NOTHING => memory::kept_by(run),
        once => once,
    };
    result?;
    match kept == memory::NOTHING {
        true => Ok(()),
        false => Err((format!("what was allocated was not freed: {kept:?}"), Vec::new())),
    }
}

fn text(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref().copied()).unwrap_or("no text")
}

/// Leaves steps out of a program that fails, as long as it does, and tells how. A program that lacks
/// a step may make no sense to the model, which panics then: that is no failure of another kind.
fn smallest(mut steps: Vec<Step>, shut_down: bool, mut why: String) -> String {
    let is_panic = |why: &str| why.starts_with("a panic: ");
    let panics = is_panic(&why);
    let mut size = steps.len().max(1);
    loop {
        let before = steps.len();
        let mut at = 0;
        while at < steps.len() {
            let mut less = steps.clone();
            less.drain(at..(at + size).min(steps.len()));
            match check(|pair| pair.replay(&less, shut_down)) {
                Err((it, _)) if is_panic(&it) == panics => (steps, why) = (less, it),
                _ => at += size,
            }
        }
        match (size, steps.len() < before) {
            (1, false) => return why,
            (1, true) => {}
            _ => size = size.div_ceil(2),
        }
    }
}

fn cases() -> u32 {
    match std::env::var_os("PROPTEST_CASES") {
        Some(_) => ProptestConfig::default().cases,
        None if cfg!(miri) => 2,
        None => 2_000,
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: cases(),
        failure_persistence: None,
        max_shrink_iters: 0,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_kernel_does_what_the_model_does(program in program::program()) {
        if let Err((why, steps)) = check(|pair| pair.run(&program)) {
            return Err(TestCaseError::fail(smallest(steps, program.shut_down, why)));
        }
    }
}
