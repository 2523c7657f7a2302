//! A child in a scope of its own, for those who cannot move.

use std::panic::Location;
use std::pin::Pin;
use std::task::{self, Poll, ready};

use pin_project::pin_project;

use crate::context::Context;
use crate::coroutine::{self, Plain, Start};
use crate::deferred::Deferred;
use crate::node::side::Policy;
use crate::node::{NodeRef, state};
use crate::scope::region::{self, End, Region};
use crate::scope::resolve;

type Place = &'static Location<'static>;

/// The future of [`spawn_on`](super::spawn_on): opens its scope at the first poll, in the job that
/// is current then.
#[pin_project(project = SpawnOnProj, project_replace = SpawnOnReplace)]
pub(super) enum SpawnOn<F: Future> {
    New(F, Context, Place),
    Open(#[pin] Region<Value<F::Output>>),
    Done(Place),
}

impl<F> SpawnOn<F>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    /// Launches the child, if that has not been done.
    fn open(mut self: Pin<&mut Self>) {
        let SpawnOnProj::New(_, _, place) = self.as_mut().project() else { return };
        let place = *place;
        let SpawnOnReplace::New(future, context, _) =
            self.as_mut().project_replace(Self::Done(place))
        else {
            unreachable!("it was new a line above")
        };
        let node = region::open(Policy::FailFast, region::Move, place);
        let scope = node.clone();
        let region = Region::start(node, || launch(&scope, context, place, future), |_| ());
        self.project_replace(Self::Open(region));
    }
}

impl<F> Future for SpawnOn<F>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<F::Output> {
        self.as_mut().open();
        let mut region = match self.as_mut().project() {
            SpawnOnProj::Open(region) => region,
            SpawnOnProj::New(_, _, place) | SpawnOnProj::Done(place) => {
                panic!("the spawn_on at {place} was polled after it had ended")
            }
        };
        match ready!(region.as_mut().poll(cx, |_, value| Some(value))) {
            End::Value(value) => {
                let place = region.node().site;
                self.project_replace(Self::Done(place));
                Poll::Ready(value)
            }
            End::Panicked(panic) => panic.resume(),
            End::Cancelled => {
                region::cancel_caller(region.node());
                Poll::Pending
            }
        }
    }
}

fn launch<F>(scope: &NodeRef, context: Context, place: Place, future: F) -> Value<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let context = resolve(scope, context, place);
    let child = coroutine::spawn::<F, Plain>(
        scope,
        context,
        (state::HANDLE, Start::Dispatched),
        place,
        future,
    );
    Value(Deferred::new(child, place))
}

/// The body of the scope: the child's value.
pub(super) struct Value<T>(Deferred<T>);

impl<T> Future for Value<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<T> {
        self.0.poll_value(cx, |place, error| {
            panic!(
                "the coroutine of the spawn_on at {place} has no value: {error}; launch it in a \
                 scope, and await its `outcome()`, where that may be"
            )
        })
    }
}
