//! Scopes: coroutines that end before the code that started them goes on.

use std::fmt;
use std::marker::PhantomData;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project::pin_project;

use crate::job::Job;
use crate::node::NodeRef;

mod bound;
mod branch;
mod builder;
mod cancelling;
mod crowd;
pub(crate) mod errors;
mod group;
pub mod joiners;
mod joining;
mod lending;
mod limit;
mod local;
mod owned;
mod plain;
mod promise;
pub(crate) mod region;
mod service;
mod start;
mod trying;
mod unsend;

pub use bound::enclose;
pub use branch::{Branch, Giving, branch};
pub use builder::CoroutineBuilder;
pub(crate) use builder::resolve;
pub use cancelling::{CancelScope, cancel_scope};
pub use errors::Failures;
pub use group::{Ended, Group, JoinNext};
pub use joining::{JoinScope, join_scope};
pub use lending::{DataScope, scope_with};
pub use limit::{Limited, ZeroLimit};
pub use local::{LocalScope, local_scope};
pub use owned::OwnedScope;
pub(crate) use plain::spawn_at;
pub use plain::{Scope, scope, scope_of, supervisor_scope};
pub use promise::Promise;
use region::{End, Region};
pub use start::{Ready, StartError, Starting, TryStarting};
pub use trying::{TryScope, try_scope, try_scope_all};
pub use unsend::{UnsendScope, local_scope_unsend};

/// What the kinds of scopes differ in.
trait ScopeKind<T> {
    type Handle;
    type Output;

    /// Opens the region; for the future, and for the handle.
    fn open(site: &'static Location<'static>) -> [NodeRef; 2];

    fn handle(region: NodeRef) -> Self::Handle;

    /// The scope's future is dropped.
    fn give_up(_: &NodeRef) {}

    /// The body has returned, the children may still run.
    fn returned(_: &NodeRef, value: T) -> Option<T> {
        Some(value)
    }

    /// What the caller gets; none if the caller is to be cancelled too.
    fn end(region: &NodeRef, end: End<T>) -> Option<Self::Output>;
}

/// The future of a scope: opens its region at the first poll, in the job that is current then.
#[pin_project(project = ScopedProj, project_replace = ScopedReplace)]
enum Scoped<K, F, Fut: Future> {
    New(F, &'static Location<'static>, PhantomData<fn() -> K>),
    Open(#[pin] Region<Fut>),
    Done(&'static Location<'static>),
}

impl<K, F, Fut: Future> Scoped<K, F, Fut> {
    #[track_caller]
    fn new(body: F) -> Self {
        Self::New(body, Location::caller(), PhantomData)
    }
}

impl<K, F, Fut: Future> Scoped<K, F, Fut> {
    /// The region, while it is open.
    fn region(self: Pin<&mut Self>) -> Option<NodeRef> {
        match self.project() {
            ScopedProj::Open(region) => Some(region.node_in_use().clone()),
            _ => None,
        }
    }
}

impl<K, F, Fut> Future for Scoped<K, F, Fut>
where
    K: ScopeKind<Fut::Output>,
    F: FnOnce(K::Handle) -> Fut,
    Fut: Future,
{
    type Output = K::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<K::Output> {
        if let ScopedProj::New(_, site, _) = self.as_mut().project() {
            let site = *site;
            let ScopedReplace::New(body, ..) = self.as_mut().project_replace(Self::Done(site))
            else {
                unreachable!("it was new a line above")
            };
            let [region, handle] = K::open(site);
            let handle = K::handle(handle);
            let region = Region::start(region, || body(handle), K::give_up);
            self.as_mut().project_replace(Self::Open(region));
        }
        match self.as_mut().project() {
            ScopedProj::Open(mut region) => {
                let end = ready!(region.as_mut().poll(cx, K::returned));
                match K::end(region.node(), end) {
                    Some(output) => {
                        let site = region.node().site;
                        self.project_replace(Self::Done(site));
                        Poll::Ready(output)
                    }
                    None => {
                        region::cancel_caller(region.node());
                        Poll::Pending
                    }
                }
            }
            ScopedProj::New(..) => unreachable!("it was opened above"),
            ScopedProj::Done(site) => {
                panic!("the scope opened at {site} was polled after it had ended")
            }
        }
    }
}

macro_rules! debug_by_job {
    ($($name:literal: $type:ty $(, $param:ident)?;)*) => {$(
        impl$(<$param>)? fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_tuple($name).field(&Job::from_node(self.0.clone())).finish()
            }
        }
    )*};
}

debug_by_job! {
    "Scope": Scope;
    "TryScope": TryScope<E>, E;
    "CancelScope": CancelScope;
}
