//! What a coroutine inherits: its dispatcher, its name, its failure handler.

use std::fmt;
use std::panic::Location;
use std::sync::Arc;

use crate::current;
use crate::dispatch::Dispatch;
use crate::error::NameOf;
use crate::failure::FailureHandler;
use crate::hooks::RuntimeHooks;
use crate::node::state;
use crate::poll_hook::{Hooks, PollHook};
use crate::scoped::Values;
use crate::unconfined;

/// Which threads resume a coroutine.
///
/// # Examples
///
/// ```
/// use corymb::prelude::*;
///
/// let sum = run_blocking(scope(async |s| {
///     // Whatever the dispatcher of the scope is, this child runs on the pool.
///     s.coroutine().on(Dispatcher::Default).spawn(async { (1..=100).sum::<u32>() }).await
/// }));
/// assert_eq!(sum, 5050);
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub enum Dispatcher {
    /// The worker pool of the current runtime, for work that computes or suspends.
    Default,
    /// The same pool, for work that blocks: as many at once as the runtime's `io_parallelism`,
    /// beside those that compute. In a test in virtual time it is the same as
    /// [`Default`](Self::Default).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::{Arc, Barrier};
    /// use corymb::prelude::*;
    ///
    /// let all = Arc::new(Barrier::new(20)); // more threads than most machines have processors
    /// run_blocking(scope(async |s| {
    ///     for _ in 0..20 {
    ///         let all = all.clone();
    ///         s.coroutine().on(Dispatcher::Io).launch(async move { drop(all.wait()) });
    ///     }
    /// }));
    /// ```
    Io,
    /// No thread in particular: each poll is done where its reason was.
    ///
    /// - A launch begins inside the call that launches. What is launched in there queues up behind
    ///   it, and has begun when the outermost of these calls returns; so the stack does not grow.
    /// - A wake never polls inside of the call: who wakes may hold a lock. On a thread that polls
    ///   a coroutine or blocks in `run_blocking`, the coroutine goes on when the poll in progress
    ///   there has returned. From any other thread it goes to [`Default`](Self::Default).
    /// - Who gives way, by [`yield_now`](crate::yield_now()), goes to the end of `Default`'s queue;
    ///   so does what is woken where many have been resumed in a row.
    /// - [`with_context`](crate::with_context()) of it changes nothing but what children inherit.
    ///
    /// It is for short pieces of code between suspensions, for they hold up the thread that they
    /// were woken on.
    ///
    /// ```
    /// use corymb::prelude::*;
    ///
    /// run_blocking(scope(async |s| {
    ///     let child = s.coroutine().on(Dispatcher::Unconfined).spawn(async { 42 });
    ///     assert!(child.job().is_completed()); // it ran inside of `spawn`
    ///     assert_eq!(child.await, 42);
    /// }));
    /// ```
    Unconfined,
    /// The loop of the program's main thread: the one of `#[corymb::main]`, which runs on the
    /// thread that called `main`, or the event loop that was installed with `Main::install`. In a
    /// test in virtual time it is served by the test.
    ///
    /// Where there is none, a launch and a [`with_context`](crate::with_context()) panic. When it
    /// has ended, what is given to it is cancelled with
    /// [`Shutdown`](crate::CancelCause::Shutdown).
    ///
    /// ```
    /// use std::thread;
    /// use corymb::{prelude::*, with_context};
    ///
    /// // On the thread that called `main`; the body of `main` runs elsewhere.
    /// async fn show(text: &str) -> thread::ThreadId {
    ///     with_context(Dispatcher::Main, async {
    ///         println!("{text}");
    ///         thread::current().id()
    ///     })
    ///     .await
    /// }
    ///
    /// #[corymb::main]
    /// async fn main() {
    ///     assert_ne!(show("hello").await, thread::current().id());
    /// }
    /// ```
    Main,
    /// As [`Main`](Self::Main), but a launch on the main thread begins inside of the call that
    /// launches, as with [`Unconfined`](Self::Unconfined). A wake queues.
    MainImmediate,
    /// Whatever runs [`Coroutine`](crate::Coroutine)s.
    Custom(Arc<dyn Dispatch>),
}

impl Dispatcher {
    /// A dispatcher out of anything that implements [`Dispatch`], closures included.
    ///
    /// # Examples
    ///
    /// A thread for each poll:
    ///
    /// ```
    /// use std::thread;
    /// use corymb::{Coroutine, prelude::*};
    ///
    /// let threads = Dispatcher::custom(|coroutine: Coroutine| {
    ///     thread::spawn(move || coroutine.run());
    /// });
    /// let here = thread::current().id();
    /// let id = run_blocking(scope(async |s| {
    ///     s.coroutine().on(threads).spawn(async { thread::current().id() }).await
    /// }));
    /// assert_ne!(id, here);
    /// ```
    pub fn custom(dispatch: impl Dispatch) -> Self {
        Self::Custom(Arc::new(dispatch))
    }

    /// What it stands for in `runtime`; none for a main loop that is missing.
    pub(crate) fn resolve(&self, runtime: &dyn RuntimeHooks) -> Option<Arc<dyn Dispatch>> {
        Some(match self {
            Self::Default => runtime.default_dispatch(),
            Self::Io => runtime.io_dispatch(),
            Self::Unconfined => unconfined::dispatch(),
            Self::Main | Self::MainImmediate => return runtime.main_dispatch(),
            Self::Custom(dispatch) => Arc::clone(dispatch),
        })
    }

    /// # Panics
    ///
    /// Always: [`resolve`](Self::resolve) has given nothing.
    #[cold]
    pub(crate) fn panic_missing(&self, place: &Location<'_>) -> ! {
        panic!(
            "{self:?} is used at {place}, and there is no main loop: run the program by #[corymb::main] or \
             Runtime::run_main, or install its event loop with corymb::Main::install first"
        )
    }

    /// Whether a launch may begin in the caller.
    fn starts_inline(&self) -> bool {
        matches!(self, Self::Unconfined | Self::MainImmediate)
    }

    /// A context of this dispatcher and what `other` sets.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::prelude::*;
    ///
    /// let context = Dispatcher::Default.and(Name::new("worker"));
    /// assert_eq!(context.name(), Some("worker"));
    /// ```
    #[must_use]
    pub fn and(self, other: impl Into<Context>) -> Context {
        Context::from(self).and(other)
    }
}

impl fmt::Debug for Dispatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Self::Custom(dispatch) = self
            && let Some(view) = dispatch.as_view()
        {
            return view.fmt(f);
        }
        f.write_str(match self {
            Self::Default => "Dispatcher::Default",
            Self::Io => "Dispatcher::Io",
            Self::Unconfined => "Dispatcher::Unconfined",
            Self::Main => "Dispatcher::Main",
            Self::MainImmediate => "Dispatcher::MainImmediate",
            Self::Custom(_) => "Dispatcher::Custom(..)",
        })
    }
}

/// The name of a coroutine, for dumps and errors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(Arc<str>);

impl Name {
    /// A name.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::prelude::*;
    ///
    /// let context = Context::from(Name::new("worker"));
    /// assert_eq!(context.name(), Some("worker"));
    /// ```
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self(name.into())
    }
}

/// Settings for coroutines: immutable, inherited by children, combined with [`and`](Self::and).
///
/// What a context does not set is inherited. [Hooks](PollHook) are added to those that are.
///
/// # Examples
///
/// ```
/// use corymb::prelude::*;
///
/// let names = run_blocking(scope(async |s| {
///     let parent = s.coroutine().context(Dispatcher::Default.and(Name::new("parent")));
///     parent
///         .spawn(scope(async |s| {
///             // A child inherits what it does not set itself.
///             s.spawn(async { Context::current().name().map(String::from) }).await
///         }))
///         .await
/// }));
/// assert_eq!(names.as_deref(), Some("parent"));
/// ```
#[derive(Clone, Default)]
pub struct Context {
    dispatcher: Option<Dispatcher>,
    /// All that is bound, not only what is new.
    values: Option<Values>,
    /// Boxed, as few sections have any of it, and all are made and dropped with the room for it.
    rest: Option<Box<Rest>>,
}

#[derive(Clone)]
struct Rest {
    name: Option<Arc<str>>,
    handler: Option<FailureHandler>,
    hooks: Option<Hooks>,
}

impl Rest {
    const NOTHING: Self = Self { name: None, handler: None, hooks: None };

    /// Both; where both set the same, `other` wins.
    fn and(self, other: Self) -> Self {
        Self {
            name: other.name.or(self.name),
            handler: other.handler.or(self.handler),
            hooks: Hooks::join(self.hooks.as_ref(), other.hooks.as_ref()),
        }
    }
}

impl Context {
    /// A context that sets nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::Context;
    ///
    /// let context = Context::new();
    /// assert!(context.name().is_none() && context.dispatcher().is_none());
    /// ```
    pub fn new() -> Self {
        Self::default()
    }

    /// Both; where both set the same, `other` wins. The hooks of `other` come inside of the others.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::prelude::*;
    ///
    /// let context = Context::from(Name::new("a")).and(Dispatcher::Default).and(Name::new("b"));
    /// assert_eq!(context.name(), Some("b"));
    /// assert!(matches!(context.dispatcher(), Some(Dispatcher::Default)));
    /// ```
    #[must_use]
    pub fn and(self, other: impl Into<Self>) -> Self {
        let other = other.into();
        Self {
            dispatcher: other.dispatcher.or(self.dispatcher),
            values: other.values.or(self.values),
            rest: match (self.rest, other.rest) {
                (Some(outer), Some(inner)) => Some(Box::new(outer.and(*inner))),
                (outer, inner) => inner.or(outer),
            },
        }
    }

    fn of_rest(rest: Rest) -> Self {
        Self { rest: Some(Box::new(rest)), ..Self::default() }
    }

    pub(crate) fn of_values(values: Values) -> Self {
        Self { values: Some(values), ..Self::default() }
    }

    /// Whether a dispatcher is all that it may set.
    #[inline]
    pub(crate) fn sets_dispatcher_alone(&self) -> bool {
        self.rest.is_none() && self.values.is_none()
    }

    #[inline]
    pub(crate) fn hooks(&self) -> Option<&Hooks> {
        self.rest.as_ref()?.hooks.as_ref()
    }

    pub(crate) fn values(&self) -> Option<&Values> {
        self.values.as_ref()
    }

    pub(crate) fn values_mut(&mut self) -> Option<&mut Values> {
        self.values.as_mut()
    }

    /// What the current coroutine has, or nothing outside of one.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::prelude::*;
    ///
    /// assert!(Context::current().dispatcher().is_none()); // no coroutine runs here
    /// let inside = run_blocking(scope(async |s| s.spawn(async { Context::current() }).await));
    /// assert!(inside.dispatcher().is_some());
    /// ```
    pub fn current() -> Self {
        current::with_context(|context| Self {
            dispatcher: Some(context.dispatcher.clone()),
            values: context.values.clone(),
            rest: Some(Box::new(Rest {
                name: context.name.clone(),
                handler: context.handler.clone(),
                hooks: context.hooks.clone(),
            })),
        })
        .unwrap_or_default()
    }

    /// The dispatcher that it sets.
    pub fn dispatcher(&self) -> Option<&Dispatcher> {
        self.dispatcher.as_ref()
    }

    /// The name that it sets.
    pub fn name(&self) -> Option<&str> {
        self.rest.as_ref()?.name.as_deref()
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Rest { name, handler, hooks } = self.rest.as_deref().unwrap_or(&Rest::NOTHING);
        f.debug_struct("Context")
            .field("dispatcher", &self.dispatcher)
            .field("name", name)
            .field("handler", handler)
            .field("hooks", hooks)
            .field("values", &self.values)
            .finish()
    }
}

impl From<Dispatcher> for Context {
    #[inline]
    fn from(dispatcher: Dispatcher) -> Self {
        Self { dispatcher: Some(dispatcher), values: None, rest: None }
    }
}

impl From<Name> for Context {
    fn from(name: Name) -> Self {
        Self::of_rest(Rest { name: Some(name.0), ..Rest::NOTHING })
    }
}

impl From<FailureHandler> for Context {
    fn from(handler: FailureHandler) -> Self {
        Self::of_rest(Rest { handler: Some(handler), ..Rest::NOTHING })
    }
}

impl From<PollHook> for Context {
    fn from(hook: PollHook) -> Self {
        Self::of_rest(Rest { hooks: Some(Hooks::one(hook)), ..Rest::NOTHING })
    }
}

/// A context with everything resolved: what a node points to.
#[derive(Clone)]
pub(crate) struct ContextInner {
    pub(crate) runtime: Arc<dyn RuntimeHooks>,
    /// [`RuntimeHooks::lists_at_launch`].
    pub(crate) lists_at_launch: bool,
    /// A launch begins in the caller, if that is on the right thread.
    pub(crate) starts_inline: bool,
    dispatcher: Dispatcher,
    pub(crate) dispatch: Arc<dyn Dispatch>,
    name: Option<Arc<str>>,
    /// Whether the name was given with this context, and not inherited.
    names: bool,
    pub(crate) handler: Option<FailureHandler>,
    hooks: Option<Hooks>,
    /// What the state word of a coroutine is born with that has this context.
    pub(crate) flags: u64,
    pub(crate) values: Option<Values>,
}

impl ContextInner {
    /// The context of a runtime's root.
    pub(crate) fn root(runtime: Arc<dyn RuntimeHooks>, name: Option<Arc<str>>) -> Self {
        let dispatch = runtime.default_dispatch();
        let lists_at_launch = runtime.lists_at_launch();
        let dispatcher = Dispatcher::Default;
        let names = name.is_some();
        Self {
            runtime,
            lists_at_launch,
            starts_inline: false,
            dispatcher,
            dispatch,
            name,
            names,
            handler: None,
            hooks: None,
            flags: 0,
            values: None,
        }
    }

    /// Whether a child has other values.
    #[inline]
    pub(crate) fn changes_for_child(&self) -> bool {
        self.values.as_ref().is_some_and(Values::changes)
    }

    /// What a child has that is launched in it; `own` if it was made for the child.
    pub(crate) fn for_child(&self, own: bool) -> Self {
        let values = self.values.as_ref().and_then(Values::for_child);
        Self { values, names: own && self.names, ..self.clone() }
    }

    /// The name of a node that has this context, as its own or through an ancestor.
    pub(crate) fn name_for(&self, own: bool) -> Option<NameOf> {
        let name = self.name.clone()?;
        Some(if own && self.names { NameOf::Itself(name) } else { NameOf::Ancestor(name) })
    }

    /// The hooks around each poll.
    pub(crate) fn hooks(&self) -> Option<&Hooks> {
        self.hooks.as_ref()
    }

    /// Whether coroutines go to the runtime's own pool.
    #[inline]
    pub(crate) fn is_default(&self) -> bool {
        matches!(self.dispatcher, Dispatcher::Default)
    }

    /// The context of what serves a view of `dispatcher`.
    #[track_caller]
    pub(crate) fn of_view(runtime: Arc<dyn RuntimeHooks>, dispatcher: &Dispatcher) -> Self {
        let place = Location::caller();
        let context = Self::root(runtime, None).with(dispatcher.clone().into());
        let context = context.unwrap_or_else(|it| it.panic_missing(place));
        match dispatcher {
            Dispatcher::Io => Self { dispatch: context.runtime.elastic_io_dispatch(), ..context },
            _ => context,
        }
    }

    /// This one on the runtime's own pool, for a part of the node that has it; none if it is there.
    pub(crate) fn on_default(&self) -> Option<Self> {
        (!self.is_default()).then(|| Self {
            starts_inline: false,
            dispatcher: Dispatcher::Default,
            dispatch: self.runtime.default_dispatch(),
            ..self.clone()
        })
    }

    /// This one without a name of its own: for a part of the node whose name it is.
    pub(crate) fn inherited(self) -> Self {
        Self { names: false, ..self }
    }

    /// Whether a launch begins in the caller, on this thread.
    pub(crate) fn starts_here(&self) -> bool {
        matches!(self.dispatcher, Dispatcher::Unconfined) || self.dispatch.is_here()
    }

    /// This one with `change` applied; the dispatcher that is missing if there is no such.
    pub(crate) fn with(&self, change: Context) -> Result<Self, Dispatcher> {
        let (dispatcher, dispatch) = match change.dispatcher {
            None => (self.dispatcher.clone(), Arc::clone(&self.dispatch)),
            Some(dispatcher) => match dispatcher.resolve(&*self.runtime) {
                Some(dispatch) => (dispatcher, dispatch),
                None => return Err(dispatcher),
            },
        };
        let Rest { name, handler, hooks } = change.rest.map_or(Rest::NOTHING, |rest| *rest);
        let hooks = Hooks::join(self.hooks.as_ref(), hooks.as_ref());
        Ok(Self {
            runtime: Arc::clone(&self.runtime),
            lists_at_launch: self.lists_at_launch,
            starts_inline: dispatcher.starts_inline(),
            dispatcher,
            dispatch,
            names: name.is_some(),
            name: name.or_else(|| self.name.clone()),
            handler: handler.or_else(|| self.handler.clone()),
            flags: if hooks.is_some() { state::HOOKED } else { 0 },
            hooks,
            values: change.values.or_else(|| self.values.clone()),
        })
    }
}
