//! The region of what a thread blocks on.

use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use pin_project::{pin_project, pinned_drop};

use super::cancelling::Cancellable;
use super::region::{self, End, Region};
use super::{ScopeKind, Scoped};
use crate::context::ContextInner;
use crate::current::{self, Frame};
use crate::error::Cancelled;
use crate::job::Job;
use crate::node::{NodeRef, state, tree, waits};

/// As [`cancel_scope`], opened at once and under `job`: what a thread blocks on, and its job. If
/// `job` is a coroutine, it is the current one. None if `job` has ended: the runtime has shut down.
///
/// What is launched in it runs on the pool, if it does not say otherwise: the thread may hold what
/// the dispatcher of the code around it needs, and does not let go of it.
#[doc(hidden)]
#[track_caller]
pub fn enclose<Fut: Future>(
    job: &Job,
    body: Fut,
) -> Option<(Job, impl Future<Output = Result<Fut::Output, Cancelled>> + use<Fut>)> {
    let context = context_under(job);
    let site = Location::caller();
    let region = region::open_bound(job.node(), context, site)?;
    let run = Job::from_node(region.clone());
    let scoped =
        Scoped::<Enclosed, fn(NodeRef) -> Fut, Fut>::Open(Region::new(region.clone(), body));
    Some((run, Bound { future: Some(scoped), region }))
}

/// The context in force here or, where that is another runtime's, that of `job`; on the pool. None
/// if that is the job's own.
fn context_under(job: &Job) -> Option<Arc<ContextInner>> {
    let inside = current::node().is_some_and(|here| here == *job.node());
    if let Some(context) = inside.then(current::region_context).flatten() {
        return Some(context.on_default().map_or(context, Arc::new));
    }
    // SAFETY: no token has code, and unended during the call.
    let moved = job.pinned(|node| unsafe { node.context() }.on_default())??;
    Some(Arc::new(moved.inherited()))
}

/// [`enclose`]: whoever blocks on it has to learn of the end, also if it is cancelled itself.
struct Enclosed;

impl<T> ScopeKind<T> for Enclosed {
    type Handle = NodeRef;
    type Output = Result<T, Cancelled>;

    fn open(site: &'static Location<'static>) -> [NodeRef; 2] {
        <Cancellable as ScopeKind<T>>::open(site)
    }

    fn handle(region: NodeRef) -> NodeRef {
        region
    }

    fn end(region: &NodeRef, end: End<T>) -> Option<Self::Output> {
        match end {
            End::Cancelled => Some(Err(tree::own_cause(region))),
            end => <Cancellable as ScopeKind<T>>::end(region, end),
        }
    }
}

/// What a thread blocks on, and what therefore cannot go on anywhere else.
#[pin_project(PinnedDrop)]
struct Bound<Fut> {
    #[pin]
    future: Option<Fut>,
    region: NodeRef,
}

impl<Fut: Future> Future for Bound<Fut> {
    type Output = Fut::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let polled = {
            let frame = Frame::bound(this.region.as_ptr());
            let _inside = frame.enter();
            let future = this.future.as_pin_mut();
            future.expect("it is there until this is dropped").poll(cx)
        };
        // Whether this was woken meanwhile is not known here.
        if polled.is_pending()
            && this.region.state.load().has(state::WAITS)
            && waits::after_poll(this.region, std::ptr::null(), true)
        {
            cx.waker().wake_by_ref();
        }
        polled
    }
}

#[pinned_drop]
impl<Fut> PinnedDrop for Bound<Fut> {
    fn drop(self: Pin<&mut Self>) {
        let mut this = self.project();
        let _end = EndOfWaits(this.region);
        this.future.set(None);
    }
}

/// Also if a destructor panics.
struct EndOfWaits<'a>(&'a NodeRef);

impl Drop for EndOfWaits<'_> {
    fn drop(&mut self) {
        if self.0.state.load().has(state::WAITS) {
            waits::after_end(self.0);
        }
    }
}
