//! The way to a cell's value, or to the right to make it.

use std::fmt;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use corymb_core::internal::{WaitKind, poll_budget, spend_budget};
use pin_project::pin_project;

use super::attempt::Initialiser;
use super::shared::{Drive, Ping};
use super::{Line, OnceCell, Phase};
use crate::waiting::Waiting;

/// The right to initialise a cell. Dropped unused, it goes to the next.
pub(super) struct Right<'a, T>(&'a OnceCell<T>);

impl<'a, T> Right<'a, T> {
    /// For who has changed the phase to `Running`.
    pub(super) fn of(cell: &'a OnceCell<T>) -> Self {
        Self(cell)
    }

    pub(super) fn set(self, value: T) {
        // SAFETY: this is the right of the phase `Running`.
        unsafe { self.0.put(value) };
        self.end(Phase::Set);
    }

    /// Leaves it to the cell, and to all who wait.
    pub(super) fn share(self, init: Initialiser<T>) {
        // SAFETY: in the phase `Running` nobody else reaches it.
        self.0.shared.with_mut(|shared| unsafe { *shared = Some(init) });
        self.end(Phase::Shared(Arc::new(Ping::new())));
    }

    fn end(self, phase: Phase) {
        let cell = self.0;
        std::mem::forget(self);
        cell.monitor.lock().phase = phase;
    }
}

impl<T> Drop for Right<'_, T> {
    fn drop(&mut self) {
        self.0.monitor.lock().phase = Phase::Empty;
    }
}

impl<T> fmt::Debug for Right<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Right")
    }
}

/// Waits for the value, and drives the cell's initialiser if it has one.
#[derive(Debug)]
#[pin_project]
pub(super) struct Enter<'a, T> {
    cell: &'a OnceCell<T>,
    #[pin]
    waiting: Waiting<&'a OnceCell<T>, Line<T>>,
    #[pin]
    drive: Option<Drive<'a, T>>,
}

pub(super) enum Entered<'a, T> {
    Set,
    Run(Right<'a, T>),
}

/// What comes next, seen under the lock.
enum Next {
    Set,
    Run,
    Drive(Arc<Ping>),
}

impl<'a, T> Enter<'a, T> {
    pub(super) fn new(cell: &'a OnceCell<T>, place: &'static Location<'static>) -> Self {
        Self { cell, waiting: Waiting::new(cell, (), place), drive: None }
    }

    pub(super) fn cell(&self) -> &'a OnceCell<T> {
        self.cell
    }

    pub(super) fn place(&self) -> &'static Location<'static> {
        self.waiting.place()
    }

    /// Waits no more.
    pub(super) fn leave(self: Pin<&mut Self>) {
        let mut this = self.project();
        this.waiting.leave();
        this.drive.set(None);
    }

    pub(super) fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Entered<'a, T>> {
        let mut this = self.project();
        if !this.waiting.has_begun() && this.drive.is_none() && this.cell.get().is_some() {
            ready!(poll_budget(cx, (WaitKind::Lock, this.waiting.place())));
            spend_budget();
            return Poll::Ready(Entered::Set);
        }
        loop {
            if let Some(drive) = this.drive.as_mut().as_pin_mut() {
                ready!(drive.poll(cx));
                this.drive.set(None);
            }
            let next = this.waiting.as_mut().poll(cx, |state, _, ()| match &state.phase {
                Phase::Set => Poll::Ready(Next::Set),
                Phase::Shared(ping) => Poll::Ready(Next::Drive(Arc::clone(ping))),
                Phase::Running => Poll::Pending,
                Phase::Empty => {
                    state.phase = Phase::Running;
                    Poll::Ready(Next::Run)
                }
            });
            match ready!(next) {
                Next::Set => return Poll::Ready(Entered::Set),
                Next::Run => return Poll::Ready(Entered::Run(Right(this.cell))),
                Next::Drive(ping) => {
                    let place = this.waiting.place();
                    this.drive.set(Some(Drive::new(this.cell, ping, place)));
                }
            }
        }
    }
}
