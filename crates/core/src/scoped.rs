//! Values that code has for as long as a part of it runs, and that its children inherit.
//!
//! A binding is an entry of a persistent list: it knows the one around it. The context of a coroutine
//! has the head of its list, so that a child inherits all values by one pointer; a part of a
//! coroutine for which a value is bound has its own head in a section, like other changes of the
//! context. Each head has a number of its own, and a thread remembers what it has found for which
//! head, so that a value is looked for once.

use std::any::{Any, TypeId};
use std::cell::Cell;
use std::fmt;
use std::panic::Location;
use std::pin::Pin;
use std::ptr;
use std::sync::{Arc, OnceLock};
use std::task::{self, Poll};

use pin_project::{pin_project, pinned_drop};

use crate::context::Context;
use crate::current::{self, Frame};
use crate::prim::atomic::{AtomicU64, Ordering};
use crate::prim::thread_local;
use crate::with_context::Section;

/// A key: a static that [`scoped_value!`](crate::scoped_value) makes, for values that are bound to
/// it for a part of the program's run.
///
/// Values are immutable; inside, another one can be bound. What is bound is seen by the code inside,
/// by children of scopes that are opened there, on whatever thread they run, and by what they call.
///
/// # Examples
///
/// ```
/// use corymb::prelude::*;
/// use corymb::scoped_value;
///
/// scoped_value! { static USER: String; }
///
/// fn greeting() -> String {
///     USER.with(|user| format!("hello {user}"))
/// }
///
/// let greetings = run_blocking(USER.bind("Ada".into(), async {
///     let child = scope(async |s| s.spawn(async { greeting() }).await).await;
///     let other = USER.bind_sync("Grace".into(), greeting);
///     (child, other, greeting())
/// }));
/// assert_eq!(greetings, ("hello Ada".into(), "hello Grace".into(), "hello Ada".into()));
/// assert!(USER.try_with(|_| ()).is_none());
/// ```
pub struct ScopedValue<T: 'static> {
    inherit: Inherit<T>,
    /// No two keys have one address.
    _place: u8,
}

/// What a child has of a value that is bound where it is launched.
pub enum Inherit<T> {
    /// The same value.
    Always,
    /// None: for transactions and the like, which are one coroutine's affair.
    Never,
    /// One of its own.
    By(fn(&T) -> T),
}

impl<T: Send + Sync + 'static> ScopedValue<T> {
    /// For [`scoped_value!`](crate::scoped_value).
    #[doc(hidden)]
    pub const fn new(inherit: Inherit<T>) -> Self {
        Self { inherit, _place: 0 }
    }

    /// Runs `future` with `value`.
    ///
    /// # Examples
    ///
    /// ```
    /// use corymb::{run_blocking, scoped_value};
    ///
    /// scoped_value! { static DEPTH: u32; }
    ///
    /// let sum = DEPTH.bind(1, async { DEPTH.bind(2, async { DEPTH.get() }).await + DEPTH.get() });
    /// assert_eq!(run_blocking(sum), 3);
    /// ```
    ///
    /// # Cancel safety
    ///
    /// Dropping it drops the future, with the value bound.
    #[track_caller]
    pub fn bind<F: Future>(&'static self, value: T, future: F) -> Bind<F> {
        let values = Values::bind(self, Arc::new(value), None);
        Bind { body: Some(future), section: section(values), started: false }
    }

    /// Calls `f` with `value`.
    ///
    /// # Examples
    ///
    /// ```
    /// corymb::scoped_value! { static DEPTH: u32; }
    ///
    /// assert_eq!(DEPTH.bind_sync(1, || DEPTH.get()), 1);
    /// ```
    ///
    /// # Panics
    ///
    /// With a panic of `f`.
    #[track_caller]
    pub fn bind_sync<R>(&'static self, value: T, f: impl FnOnce() -> R) -> R {
        let section = section(Values::bind(self, Arc::new(value), current::values().cloned()));
        let frame = Frame::section(&section);
        let _inside = frame.enter();
        f()
    }

    /// Calls `f` with the value that is bound here.
    ///
    /// # Panics
    ///
    /// If there is none.
    #[track_caller]
    pub fn with<R>(&'static self, f: impl FnOnce(&T) -> R) -> R {
        let place = Location::caller();
        self.try_with(f).unwrap_or_else(|| {
            panic!(
                "a scoped value of type {} is read at {place}, where none is bound: bind one \
                 further out with bind or bind_sync, or use try_with",
                std::any::type_name::<T>(),
            )
        })
    }

    /// Calls `f` with the value that is bound here, if there is one.
    pub fn try_with<R>(&'static self, f: impl FnOnce(&T) -> R) -> Option<R> {
        // It is bound further out on this thread's stack, where it stays during `f`.
        let value = current::values()?.find(self.name())?;
        debug_assert!((**value).is::<T>(), "a value of another key");
        // SAFETY: `find` has compared the type of the key's values, and under a key `bind` and
        // `Key::inherit` put values of that type only.
        Some(f(unsafe { &*ptr::from_ref(&**value).cast::<T>() }))
    }

    /// A copy of the value that is bound here.
    ///
    /// # Panics
    ///
    /// If there is none.
    #[track_caller]
    pub fn get(&'static self) -> T
    where
        T: Clone,
    {
        self.with(T::clone)
    }

    #[inline]
    fn name(&'static self) -> KeyName {
        KeyName(ptr::from_ref(self).cast(), TypeId::of::<T>())
    }
}

impl<T> fmt::Debug for ScopedValue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ScopedValue").field(&std::any::type_name::<T>()).finish()
    }
}

impl<T> fmt::Debug for Inherit<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Always => "Always",
            Self::Never => "Never",
            Self::By(_) => "By(..)",
        })
    }
}

/// Declares keys of scoped values.
///
/// Each may say what children inherit: the same value, if nothing is said, or what an
/// [`Inherit`](crate::Inherit) says.
///
/// # Examples
///
/// ```
/// use corymb::prelude::*;
/// use corymb::{Inherit, scoped_value};
///
/// scoped_value! {
///     /// Who asked.
///     pub static USER: &'static str;
///     static TRANSACTION: u64 = Inherit::Never;
///     static PATH: String = Inherit::By(|parent| format!("{parent}/child"));
/// }
///
/// let seen = run_blocking(USER.bind("Ada", TRANSACTION.bind(7, PATH.bind("root".into(), async {
///     assert_eq!(TRANSACTION.get(), 7);
///     scope(async |s| {
///         s.spawn(async { (USER.get(), TRANSACTION.try_with(|it| *it), PATH.get()) }).await
///     })
///     .await
/// }))));
/// assert_eq!(seen, ("Ada", None, "root/child".into()));
/// ```
#[macro_export]
macro_rules! scoped_value {
    ($($(#[$attribute:meta])* $vis:vis static $name:ident: $type:ty $(= $inherit:expr)?;)+) => {$(
        $(#[$attribute])*
        $vis static $name: $crate::ScopedValue<$type> =
            $crate::ScopedValue::new($crate::scoped_value!(@inherit $($inherit)?));
    )+};
    (@inherit) => { $crate::Inherit::Always };
    (@inherit $inherit:expr) => { $inherit };
}

#[track_caller]
fn section(values: Values) -> Section {
    Section::new(Context::of_values(values), Location::caller())
}

/// The future of [`ScopedValue::bind`].
#[must_use = "futures do nothing unless polled"]
#[pin_project(PinnedDrop)]
pub struct Bind<F: Future> {
    #[pin]
    body: Option<F>,
    /// It has the new value alone until the first poll, and then what is bound around it too.
    section: Section,
    started: bool,
}

impl<F: Future> Future for Bind<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<F::Output> {
        let mut this = self.project();
        let first = !std::mem::replace(this.started, true);
        if let Some(values) = this.section.values_mut().filter(|_| first) {
            values.put_outer(current::values().cloned());
        }
        let frame = Frame::section(this.section);
        let _inside = frame.enter();
        let polled = this.body.as_mut().as_pin_mut().expect("it was polled after its end").poll(cx);
        if polled.is_ready() {
            this.body.set(None);
        }
        polled
    }
}

#[pinned_drop]
impl<F: Future> PinnedDrop for Bind<F> {
    fn drop(self: Pin<&mut Self>) {
        let mut this = self.project();
        let frame = Frame::section(this.section);
        let _inside = frame.enter();
        this.body.set(None);
    }
}

impl<F: Future> fmt::Debug for Bind<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bind").finish_non_exhaustive()
    }
}

/// A key's address and the type of its values: the compiler may give two constants one address.
#[derive(Clone, Copy, PartialEq, Eq)]
struct KeyName(*const (), TypeId);

/// A key, whatever its type.
trait Key: Sync {
    fn name(&'static self) -> KeyName;

    /// Whether a child may have something else than the same value.
    fn changes(&self) -> bool;

    /// What a child has.
    fn inherit(&self, value: &Value) -> Option<Value>;
}

type Value = Arc<dyn Any + Send + Sync>;

impl<T: Send + Sync + 'static> Key for ScopedValue<T> {
    fn name(&'static self) -> KeyName {
        self.name()
    }

    fn changes(&self) -> bool {
        !matches!(self.inherit, Inherit::Always)
    }

    fn inherit(&self, value: &Value) -> Option<Value> {
        match self.inherit {
            Inherit::Always => Some(Arc::clone(value)),
            Inherit::Never => None,
            Inherit::By(make) => Some(Arc::new(make(value.downcast_ref().expect("its type")))),
        }
    }
}

/// What is bound somewhere: the head of the list.
#[derive(Clone)]
pub(crate) struct Values(Arc<Binding>);

struct Binding {
    /// No other one ever has it.
    number: u64,
    key: &'static dyn Key,
    value: Value,
    outer: Option<Values>,
    /// A child may not have all of it as it is.
    changes: bool,
}

impl Values {
    fn bind(key: &'static dyn Key, value: Value, outer: Option<Self>) -> Self {
        static NEXT: OnceLock<AtomicU64> = OnceLock::new();
        // Ordering: Relaxed, only the numbers matter.
        let number = NEXT.get_or_init(|| AtomicU64::new(1)).fetch_add(1, Ordering::Relaxed);
        let changes = key.changes() || outer.as_ref().is_some_and(Self::changes);
        Self(Arc::new(Binding { number, key, value, outer, changes }))
    }

    /// Puts what is bound around it behind a binding that nobody else has seen.
    pub(crate) fn put_outer(&mut self, outer: Option<Self>) {
        if let Some(binding) = Arc::get_mut(&mut self.0) {
            binding.changes |= outer.as_ref().is_some_and(Self::changes);
            binding.outer = outer;
        }
    }

    /// Whether children have something else.
    #[inline]
    pub(crate) fn changes(&self) -> bool {
        self.0.changes
    }

    /// What a child has.
    pub(crate) fn for_child(&self) -> Option<Self> {
        let changed: Vec<_> = self.iter().take_while(|values| values.changes()).collect();
        let last = changed.last().map_or(self, |it| *it);
        let rest = if last.changes() { last.0.outer.clone() } else { Some(last.clone()) };
        changed.iter().rev().fold(rest, |outer, values| {
            let Binding { key, value, .. } = &*values.0;
            match key.inherit(value) {
                Some(value) => Some(Self::bind(*key, value, outer)),
                None => outer,
            }
        })
    }

    fn iter(&self) -> impl Iterator<Item = &Self> {
        std::iter::successors(Some(self), |values| values.0.outer.as_ref())
    }

    /// The innermost value of a key.
    #[inline]
    fn find(&self, key: KeyName) -> Option<&Value> {
        let slot = slot(self.0.number, key.0);
        let found = FOUND.with(|found| found[slot].get());
        if found.number == self.0.number && found.key == key {
            // SAFETY: found in this list before, which is kept by its head, and nothing in it ever
            // changes; no other list has the number.
            return unsafe { found.value.as_ref() };
        }
        let value = self.search(key);
        let found = Found { number: self.0.number, key, value: value.map_or(ptr::null(), |it| it) };
        FOUND.with(|slots| slots[slot].set(found));
        value
    }

    #[cold]
    fn search(&self, key: KeyName) -> Option<&Value> {
        let mut values = self.iter();
        let at = values.find(|values| values.0.key.name() == key)?;
        Some(&at.0.value)
    }
}

/// A list can be long, and its end must not take a stack frame for each entry.
impl Drop for Binding {
    fn drop(&mut self) {
        let mut outer = self.outer.take();
        while let Some(Values(binding)) = outer {
            outer = Arc::into_inner(binding).and_then(|mut binding| binding.outer.take());
        }
    }
}

impl fmt::Debug for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} values", self.iter().count())
    }
}

/// What a thread has found for which head.
#[derive(Clone, Copy)]
struct Found {
    /// Zero, which no head has, if there is nothing.
    number: u64,
    key: KeyName,
    /// Null where no value is bound.
    value: *const Value,
}

impl Found {
    const NOTHING: Self =
        Self { number: 0, key: KeyName(ptr::null(), TypeId::of::<()>()), value: ptr::null() };
}

const SLOTS: usize = 16;

thread_local! {
    static FOUND: [Cell<Found>; SLOTS] = const {
        [const { Cell::new(Found::NOTHING) }; SLOTS]
    };
}

/// Where it is noted.
#[inline]
fn slot(number: u64, key: *const ()) -> usize {
    // Only the low bits matter.
    (number as usize ^ (key.addr() >> 4)) % SLOTS
}
