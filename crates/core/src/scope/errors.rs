//! The errors of a `try_scope`.

use std::error::Error;
use std::fmt;
use std::marker::PhantomData;
use std::panic::Location;

use super::region::{self, Part};

use crate::coroutine::Settle;
use crate::error::{Panic, Who};
use crate::failure::{self, Failure};
use crate::local::Homed;
use crate::node::{Node, state};
use crate::prim::Mutex;

/// The errors of a [`try_scope_all`](super::try_scope_all): at least one.
///
/// # Examples
///
/// ```
/// use corymb::prelude::*;
/// use corymb::try_scope_all;
///
/// let failures = run_blocking(try_scope_all(async |s| {
///     s.launch(async { Err("the disk is full") });
///     Ok(())
/// }))
/// .unwrap_err();
/// assert_eq!(failures.first(), &"the disk is full");
/// assert_eq!(failures.into_parts(), ("the disk is full", vec![]));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failures<E> {
    first: E,
    suppressed: Vec<E>,
}

impl<E> Failures<E> {
    /// The error that cancelled the rest.
    pub fn first(&self) -> &E {
        &self.first
    }

    /// The errors that came later, in their order.
    pub fn suppressed(&self) -> &[E] {
        &self.suppressed
    }

    /// The first error by value.
    pub fn into_first(self) -> E {
        self.first
    }

    /// All by value: the first, and the later ones.
    pub fn into_parts(self) -> (E, Vec<E>) {
        (self.first, self.suppressed)
    }
}

impl<E: fmt::Display> fmt::Display for Failures<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.first.fmt(f)?;
        match self.suppressed.len() {
            0 => Ok(()),
            more => write!(f, " (and {more} more)"),
        }
    }
}

impl<E: Error + 'static> Error for Failures<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.first)
    }
}

/// Where children put their errors until the scope's future takes them.
pub(super) struct ErrorSlot<E>(Mutex<Vec<(Who, E)>>, &'static Location<'static>);

impl<E: Send + 'static> Part for ErrorSlot<E> {
    const NAME: &'static str = "try_scope";
}

impl<E> ErrorSlot<E> {
    /// For the scope opened at `site`.
    pub(super) fn new(site: &'static Location<'static>) -> Self {
        Self(Mutex::new(Vec::new()), site)
    }

    pub(super) fn push(&self, who: Who, error: E) {
        self.0.lock().push((who, error));
    }

    pub(super) fn take(&self) -> Option<Failures<E>> {
        let mut errors = std::mem::take(&mut *self.0.lock()).into_iter().map(|(_, error)| error);
        Some(Failures { first: errors.next()?, suppressed: errors.collect() })
    }

    /// The scope's future is dropped before it took them.
    pub(super) fn give_up(&self) {
        self.lose(|failure| failure::report_in_context(&failure));
    }

    /// A panic goes before them, and they travel with it.
    pub(super) fn suppress_by(&self, mut panic: Panic) -> Panic {
        self.lose(|failure| panic.suppress(failure));
        panic
    }

    /// What is told of those whose values nobody will see.
    fn lose(&self, mut tell: impl FnMut(Failure)) {
        let errors = std::mem::take(&mut *self.0.lock());
        for (who, error) in errors {
            tell(Failure::Error { who, type_name: std::any::type_name::<E>() });
            failure::guard_drop("destructor of an error", self.1, || drop(error));
        }
    }
}

impl<E> Drop for ErrorSlot<E> {
    /// One may have come at the same time.
    fn drop(&mut self) {
        self.give_up();
    }
}

/// A child of a `try_scope`: `Ok` is its value, `Err` goes to the scope.
pub(super) struct Attempt<T, E>(PhantomData<fn() -> (T, E)>);

impl<T: Send + 'static, E: Send + 'static> Settle<Result<T, E>> for Attempt<T, E> {
    type Value = T;

    unsafe fn settle(node: &Node, output: Result<T, E>) -> Option<T> {
        // SAFETY: the caller's promise.
        output.map_err(|error| unsafe { fail(node, error) }).ok()
    }
}

/// As [`Attempt`], of a child that is bound to its thread: its value stays there, its error goes to
/// the scope, wherever that is.
pub(super) struct LocalAttempt<T, E>(PhantomData<fn() -> (T, E)>);

impl<T: 'static, E: Send + 'static> Settle<Homed<Result<T, E>>> for LocalAttempt<T, E> {
    type Value = Homed<T>;

    unsafe fn settle(node: &Node, output: Homed<Result<T, E>>) -> Option<Homed<T>> {
        // SAFETY: the caller's promise.
        output.split().map_err(|error| unsafe { fail(node, error) }).ok()
    }
}

/// Gives the error of the child `node` to its scope.
///
/// # Safety
///
/// `node` is unfinished, and was launched by a `TryScope<E>`.
unsafe fn fail<E: Send + 'static>(node: &Node, error: E) {
    let Some(region) = node.parent else { return };
    // SAFETY: the child is unfinished, so its region is; `TryScope` launches into regions with a
    // slot of this type.
    let slot = unsafe { region::extra::<ErrorSlot<E>>(region) };
    // SAFETY: the child is unfinished.
    let (context, who) = unsafe { (node.context(), node.who_failed()) };
    let failed = |who| Failure::Error { who, type_name: std::any::type_name::<E>() };
    if node.state.load().has(state::HANDLE) {
        // For its outcome; nothing fails below a coroutine by the coroutine itself.
        node.make_side().0.lock().failure = Some(failed(who.clone()));
    }
    // SAFETY: as above.
    if unsafe { region.as_ref() }.state.load().has(state::ABANDONED) {
        failure::report(context, &failed(who));
    } else {
        slot.push(who, error);
    }
}

/// A child whose error its scope has, and which has settled.
pub(crate) fn failed(node: &Node) -> Who {
    match node.side().and_then(|side| side.lock().failure.take()) {
        Some(Failure::Error { who, .. }) => who,
        _ => node.who(),
    }
}
