//! Permits, which whoever has some keeps from others: what a semaphore and the locks are made of.
//!
//! # The word
//!
//! | bits | name | what |
//! | --- | --- | --- |
//! | 0 | `QUEUED` | somebody may wait: permits are given out under the lock only |
//! | 1.. | permits | those that nobody has |
//!
//! Without `QUEUED`, permits are taken and put back by one read-modify-write, and the lock is left
//! alone. `QUEUED` is set and cleared under the lock. Who puts permits back and sees it, locks, so
//! that they are offered; who queues sets it first and then looks for permits: of the two, the
//! second sees the other, for both change the same word.
//!
//! An offer reserves its permits: they are out of the word, and go back if it is declined. So
//! nobody gets ahead of who waits, and turns are taken in the order of arrival.
//!
//! # What comes before the queue
//!
//! A [`Kind`] may have something of its own that is served first, and meanwhile shuts the
//! [`Gate`]: the upgrade of a reader, permits that are to vanish, the news that it was closed.
//! Whoever makes such a thing known sets `QUEUED`, under the lock.

use std::panic::Location;
use std::pin::Pin;
#[cfg(not(loom))]
use std::ptr;
use std::task::{Context, Poll, Waker, ready};

#[cfg(not(loom))]
use corymb_core::internal::prim::atomic::AtomicPtr;
use corymb_core::internal::prim::atomic::{AtomicUsize, Ordering};
use corymb_core::internal::{WaitKind, poll_budget, spend_budget};
use pin_project::pin_project;

use crate::anchored::{Anchored, Begin};
use crate::monitor::{Locked, Monitor, Owner, State};
use crate::waiters::{Queue, Turn, WaitList};
use crate::waiting::Waiting;

const QUEUED: usize = 1;
const ONE: usize = 1 << 1;

/// The most permits that there can be.
pub(crate) const MAX: usize = usize::MAX / ONE;

/// The permits, and the queue for them.
pub(crate) struct Permits<K: Kind> {
    /// Where the word is; [`NOWHERE`] until there is a monitor. So on the way of who need not wait
    /// nobody asks whether there is one.
    #[cfg(not(loom))]
    word: AtomicPtr<Word>,
    monitor: Anchored<Waiters<K>>,
}

/// A word that sends everybody the slow way, to the monitor. Nobody changes it: it has no permits,
/// and who puts some back had them of another one.
#[cfg(not(loom))]
static NOWHERE: Word = Word(AtomicUsize::new(QUEUED));

/// What the permits are of.
pub(crate) trait Kind: Sized {
    /// For dumps.
    const NAME: &'static str;
    /// What comes before the queue.
    type Ahead;
    /// Why nobody gets permits any more.
    type Refusal;

    /// What of that there is in the beginning.
    fn ahead(permits: usize) -> Self::Ahead;

    /// Serves what comes before the queue; the waker is of one who was called.
    fn serve(ahead: &mut Self::Ahead, word: &Word) -> Option<Waker> {
        let _ = (ahead, word);
        None
    }

    /// Whether the queue may be served.
    fn gate(ahead: &Self::Ahead) -> Gate<Self::Refusal> {
        let _ = ahead;
        Gate::Open
    }
}

/// What becomes of the queue.
pub(crate) enum Gate<R> {
    Open,
    /// It waits for what comes before it.
    Shut,
    /// It is sent away.
    Refused(R),
}

/// What the lock guards.
pub(crate) struct Waiters<K: Kind> {
    line: WaitList<Line<K>>,
    pub(crate) ahead: K::Ahead,
    /// How many have waited at once.
    most: usize,
}

/// The one queue.
pub(crate) struct Line<K>(std::marker::PhantomData<K>);

/// The word.
pub(crate) struct Word(AtomicUsize);

/// Figures of a queue.
pub(crate) struct Figures {
    pub(crate) available: usize,
    pub(crate) waiters: usize,
    pub(crate) most_waiters: usize,
}

// SAFETY: it is in the place of `self`.
unsafe impl<K: Kind> Owner for Permits<K> {
    type State = Waiters<K>;

    fn monitor(&self) -> &Monitor<Waiters<K>> {
        if Self::is_nowhere(self.word()) { self.make() } else { &self.monitor }
    }
}

impl<K: Kind> Queue for Line<K> {
    type State = Waiters<K>;
    /// How many it needs.
    type Payload = usize;

    fn waiters(state: &mut Waiters<K>) -> &mut WaitList<Self> {
        &mut state.line
    }

    fn take_back(_: &mut Waiters<K>, word: &Word, needed: &mut usize) {
        word.put(*needed);
    }
}

impl<K: Kind> State for Waiters<K> {
    type Shared = Word;

    const NAME: &'static str = K::NAME;

    fn offer(&mut self, word: &Word) -> Option<Waker> {
        self.most = self.most.max(self.line.len());
        if let Some(waker) = K::serve(&mut self.ahead, word) {
            return Some(waker);
        }
        match K::gate(&self.ahead) {
            Gate::Open => {}
            Gate::Shut => return None,
            Gate::Refused(_) => return self.line.release(|_| ()).map(|(waker, ())| waker),
        }
        let Some(&mut needed) = self.line.first() else {
            word.clear_queued();
            return None;
        };
        if word.take_under_lock(needed) { self.line.call() } else { None }
    }
}

impl<K: Kind> Begin for Waiters<K> {
    /// How many permits there are.
    type Seed = usize;

    fn begin(&permits: &usize) -> Monitor<Self> {
        let waiters = Self { line: WaitList::new(), ahead: K::ahead(permits), most: 0 };
        Monitor::new(waiters, Word(AtomicUsize::new(permits * ONE)))
    }
}

impl Word {
    /// Takes `needed` permits if there are as many and nobody waits.
    #[inline]
    pub(crate) fn try_take(&self, needed: usize) -> bool {
        self.take(needed, 0)
    }

    /// Takes `needed` permits if there are as many, whoever waits: for who has the lock, or comes
    /// before the queue.
    #[inline]
    pub(crate) fn take_under_lock(&self, needed: usize) -> bool {
        self.take(needed, QUEUED)
    }

    /// Takes `needed` permits if there are as many, and no other flags are set than `allowed`.
    #[inline]
    fn take(&self, needed: usize, allowed: usize) -> bool {
        // Ordering: Relaxed, for the exchange looks again.
        let mut now = self.0.load(Ordering::Relaxed);
        loop {
            if now & QUEUED & !allowed != 0 || now / ONE < needed {
                return false;
            }
            // Ordering: Acquire pairs with the Release in `put`: who had the permits before is seen.
            match self.0.compare_exchange_weak(
                now,
                now - needed * ONE,
                Ordering::Acquire,
                Ordering::Relaxed,
            ) {
                Ok(_) => return true,
                Err(other) => now = other,
            }
        }
    }

    /// Puts permits back; true if somebody may wait for them.
    #[inline]
    pub(crate) fn put(&self, permits: usize) -> bool {
        // Ordering: Release, as said in `take`.
        let before = self.0.fetch_add(permits * ONE, Ordering::Release);
        debug_assert!(before / ONE + permits <= MAX, "more permits than there can be");
        before & QUEUED != 0
    }

    /// The permits that nobody has.
    pub(crate) fn available(&self) -> usize {
        // Ordering: Relaxed, a figure for people, or under the lock.
        self.0.load(Ordering::Relaxed) / ONE
    }

    /// Under the lock.
    pub(crate) fn set_queued(&self) {
        // Ordering: Acquire sees what was put back before.
        self.0.fetch_or(QUEUED, Ordering::Acquire);
    }

    /// Under the lock.
    fn clear_queued(&self) {
        // Ordering: Relaxed; the flag is set and cleared under the lock.
        if self.0.load(Ordering::Relaxed) & QUEUED != 0 {
            self.0.fetch_and(!QUEUED, Ordering::Relaxed);
        }
    }
}

#[cfg(not(loom))]
impl<K: Kind> Permits<K> {
    pub(crate) const fn new(permits: usize) -> Self {
        debug_assert!(permits <= MAX);
        let word = AtomicPtr::new((&raw const NOWHERE).cast_mut());
        Self { word, monitor: Anchored::new(permits) }
    }

    /// The word, as far as it is known: for who takes permits and then waits for them if need be,
    /// and for who has some.
    #[inline]
    pub(crate) fn word(&self) -> &Word {
        // Ordering: Acquire pairs with the Release in `make`.
        // SAFETY: it is a static one, or that of the monitor, which is there as long as `self`.
        unsafe { &*self.word.load(Ordering::Acquire) }
    }

    /// Whether nobody had asked for the monitor yet when `word` was looked up.
    #[inline]
    fn is_nowhere(word: &Word) -> bool {
        ptr::eq(word, &raw const NOWHERE)
    }

    /// Makes the monitor, and tells where its word is.
    #[cold]
    fn make(&self) -> &Monitor<Waiters<K>> {
        let monitor = &*self.monitor;
        // Ordering: Release publishes the word to those who come to it by the pointer alone.
        self.word.store(ptr::from_ref(monitor.shared()).cast_mut(), Ordering::Release);
        monitor
    }
}

/// In a model there is a monitor from the beginning.
#[cfg(loom)]
impl<K: Kind> Permits<K> {
    pub(crate) fn new(permits: usize) -> Self {
        Self { monitor: Anchored::new(permits) }
    }

    pub(crate) fn word(&self) -> &Word {
        self.monitor.shared()
    }

    fn is_nowhere(_: &Word) -> bool {
        false
    }

    fn make(&self) -> &Monitor<Waiters<K>> {
        &self.monitor
    }
}

impl<K: Kind> Permits<K> {
    /// Takes permits if there are enough and nobody waits.
    #[inline]
    pub(crate) fn try_take(&self, needed: usize) -> bool {
        let word = self.word();
        word.try_take(needed) || (Self::is_nowhere(word) && self.try_take_first(needed))
    }

    #[cold]
    fn try_take_first(&self, needed: usize) -> bool {
        self.monitor().shared().try_take(needed)
    }

    /// Puts back permits that were taken.
    #[inline]
    pub(crate) fn put(&self, permits: usize) {
        let word = self.word();
        debug_assert!(!Self::is_nowhere(word), "nobody has taken any");
        if word.put(permits) {
            self.offer();
        }
    }

    // Out of line, as is all that needs the monitor: `put` is a part of the drop of each guard.
    #[inline(never)]
    fn offer(&self) {
        // The offer is made when it is unlocked.
        drop(self.lock());
    }

    /// What comes before the queue, to look at and to change.
    pub(crate) fn lock(&self) -> Locked<'_, Waiters<K>> {
        self.monitor().lock()
    }

    /// The permits that nobody has.
    pub(crate) fn available(&self) -> usize {
        self.monitor().shared().available()
    }

    pub(crate) fn figures(&self) -> Figures {
        let state = self.lock();
        Figures {
            available: self.available(),
            waiters: state.line.len() + state.line.called(),
            most_waiters: state.most,
        }
    }
}

/// One who waits in the queue is polled, with the lock.
fn poll_take<K: Kind>(
    state: &Locked<'_, Waiters<K>>,
    turn: Turn,
    needed: usize,
) -> Poll<Result<(), K::Refusal>> {
    let word = state.shared();
    let gate = K::gate(&state.ahead);
    if let Gate::Refused(why) = gate {
        if turn.called {
            word.put(needed);
        }
        return Poll::Ready(Err(why));
    }
    if turn.called {
        return Poll::Ready(Ok(()));
    }
    word.set_queued();
    match turn.first && matches!(gate, Gate::Open) && word.take_under_lock(needed) {
        true => Poll::Ready(Ok(())),
        false => Poll::Pending,
    }
}

/// The part of a future that takes permits of what `O` points to.
#[pin_project]
pub(crate) struct Take<O, K>
where
    O: Owner<State = Waiters<K>>,
    K: Kind,
{
    #[pin]
    waiting: Waiting<O, Line<K>>,
    needed: usize,
}

impl<O, K> Take<O, K>
where
    O: Owner<State = Waiters<K>>,
    K: Kind,
{
    pub(crate) fn new(owner: O, needed: usize, place: &'static Location<'static>) -> Self {
        Self { waiting: Waiting::new(owner, needed, place), needed }
    }

    pub(crate) fn needed(&self) -> usize {
        self.needed
    }

    /// Takes them from `permits`, which are the owner's.
    #[inline]
    pub(crate) fn poll(
        self: Pin<&mut Self>,
        permits: &Permits<K>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), K::Refusal>> {
        let this = self.project();
        let needed = *this.needed;
        if !this.waiting.has_begun() {
            ready!(poll_budget(cx, (WaitKind::Lock, this.waiting.place())));
            if permits.word().try_take(needed) {
                spend_budget();
                return Poll::Ready(Ok(()));
            }
        }
        this.waiting.poll(cx, |state, turn, _| poll_take(state, turn, needed))
    }
}

impl<O, K> std::fmt::Debug for Take<O, K>
where
    O: Owner<State = Waiters<K>>,
    K: Kind,
{
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Take")
            .field("needed", &self.needed)
            .field("waiting", &self.waiting)
            .finish()
    }
}
