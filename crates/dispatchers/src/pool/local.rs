//! A thread of the pool, as the code that it runs sees it.

use std::cell::{Cell, RefCell};
use std::ptr;
use std::sync::Arc;

use corymb_core::Coroutine;
use corymb_core::internal::TimerShard;
use corymb_core::internal::prim::atomic::Ordering;

use super::Pool;
use super::io::Io;
use super::load::Load;
use super::owner::Tenant;
use super::pace::Pace;
use super::parker::Parker;
use super::processor::Processor;
use super::system_thread;

thread_local! {
    /// The thread of a pool that this thread is, or null.
    static LOCAL: Cell<*const Local> = const { Cell::new(ptr::null()) };
}

/// Calls `f` with the thread of `pool` that this thread is, if it is one.
#[inline]
pub(crate) fn with<R>(pool: &Pool, f: impl FnOnce(Option<&Local>) -> R) -> R {
    // SAFETY: set by `enter` while the object is on its caller's stack, on this thread.
    let local = unsafe { LOCAL.with(Cell::get).as_ref() };
    f(local.filter(|local| ptr::eq(&raw const *local.pool, pool)))
}

/// Calls `f` with the thread of a pool that this thread is, if it is one.
#[inline]
pub(super) fn current<R>(f: impl FnOnce(Option<&Local>) -> R) -> R {
    // SAFETY: as in `with`.
    f(unsafe { LOCAL.with(Cell::get).as_ref() })
}

/// Whether this thread is one of `pool`, its watchdog included.
pub(crate) fn is_thread_of(pool: &Pool) -> bool {
    with(pool, |local| local.is_some()) || pool.watchdog.is_this_thread()
}

/// Makes `local` what this thread is, during `f`.
pub(super) fn enter(local: &Local, f: impl FnOnce()) {
    LOCAL.set(ptr::from_ref(local));
    let _leave = LeaveOnDrop;
    f();
}

struct LeaveOnDrop;

impl Drop for LeaveOnDrop {
    fn drop(&mut self) {
        LOCAL.set(ptr::null());
    }
}

/// A thread of the pool.
///
/// Pointers lead to what the pool owns, and the pool is kept.
pub(crate) struct Local {
    pool: Arc<Pool>,
    parker: Arc<Parker>,
    /// The system's number for it.
    pub(super) system_number: u32,
    /// How it signs the words of processors.
    me: Cell<Tenant>,
    /// The processor that it holds, or null.
    held: Cell<*const Processor>,
    /// The one that it has lent and not asked for again, or null.
    lent: Cell<*const Processor>,
    /// The IO side in which it has a slot, or null.
    io: Cell<*const Io>,
    /// It blocks in a `run_blocking`, and does not count against the limit of threads.
    pub(super) exempt: Cell<bool>,
    /// A timer was armed that the driver may not know of.
    pub(super) timer_armed: Cell<bool>,
    /// Events and timers are handed out: what they wake goes to the queue, and nobody is called
    /// before all are there.
    pub(super) in_batch: Cell<bool>,
    pub(super) lifo_runs: Cell<u32>,
    pub(super) pace: Pace,
    /// When a busy worker looked into the reactor last, in nanoseconds.
    pub(super) looked: Cell<u64>,
    /// When the last sleep ended, in nanoseconds.
    pub(super) awake: Cell<u64>,
    pub(super) load: Load,
    /// How often it has napped in a row.
    pub(super) naps: Cell<u32>,
    /// How many polls each processor had done before the last nap.
    pub(super) progress: RefCell<Vec<u64>>,
}

impl Local {
    /// The calling thread, as one of `pool`.
    pub(super) fn new(pool: &Arc<Pool>) -> Self {
        // Ordering: Relaxed, only the number matters.
        let number = pool.threads_started.fetch_add(1, Ordering::Relaxed);
        Self {
            pool: Arc::clone(pool),
            parker: Arc::new(Parker::new()),
            system_number: system_thread::number(),
            me: Cell::new(Tenant::new(number)),
            held: Cell::new(ptr::null()),
            lent: Cell::new(ptr::null()),
            io: Cell::new(ptr::null()),
            exempt: Cell::new(false),
            timer_armed: Cell::new(false),
            in_batch: Cell::new(false),
            lifo_runs: Cell::new(0),
            pace: Pace::new(),
            looked: Cell::new(0),
            awake: Cell::new(0),
            load: Load::new(),
            naps: Cell::new(0),
            progress: RefCell::new(Vec::new()),
        }
    }

    #[inline]
    pub(super) fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    pub(super) fn parker(&self) -> &Arc<Parker> {
        &self.parker
    }

    #[inline]
    pub(super) fn me(&self) -> Tenant {
        self.me.get()
    }

    /// Calls `f` with the signature, which it may change.
    #[inline]
    pub(super) fn sign<R>(&self, f: impl FnOnce(&mut Tenant) -> R) -> R {
        let mut me = self.me.get();
        let result = f(&mut me);
        self.me.set(me);
        result
    }

    /// The processor that it holds.
    #[inline]
    pub(super) fn held(&self) -> Option<&Processor> {
        // SAFETY: the pool keeps its processors.
        unsafe { self.held.get().as_ref() }
    }

    #[inline]
    pub(super) fn set_held(&self, processor: Option<&Processor>) {
        self.held.set(processor.map_or(ptr::null(), ptr::from_ref));
    }

    #[inline]
    pub(super) fn set_lent(&self, processor: Option<&Processor>) {
        self.lent.set(processor.map_or(ptr::null(), ptr::from_ref));
    }

    #[inline]
    pub(super) fn take_lent(&self) -> Option<&Processor> {
        // SAFETY: as in `held`.
        unsafe { self.lent.replace(ptr::null()).as_ref() }
    }

    /// The IO side in which it has a slot.
    #[inline]
    pub(super) fn io(&self) -> Option<&Io> {
        // SAFETY: the pool keeps its sides.
        unsafe { self.io.get().as_ref() }
    }

    #[inline]
    pub(super) fn set_io(&self, io: Option<&Io>) {
        self.io.set(io.map_or(ptr::null(), ptr::from_ref));
    }

    #[inline]
    pub(super) fn is_in(&self, io: &Io) -> bool {
        ptr::eq(self.io.get(), io)
    }

    /// The shard of the processor that is held.
    pub(crate) fn timer_shard(&self) -> Option<&'static TimerShard> {
        self.held().map(Processor::shard)
    }

    /// Keeps in mind that a timer was armed; false if nobody would look.
    pub(crate) fn note_timer(&self) -> bool {
        let holds = self.held().is_some();
        self.timer_armed.set(holds);
        holds
    }

    /// Takes a coroutine that was woken: it is next, and its data are in this core's cache.
    #[inline]
    pub(crate) fn push_woken(&self, pool: &Pool, coroutine: Coroutine) {
        if self.in_batch.get() {
            return self.push_new(pool, coroutine);
        }
        self.load.arrived();
        let Some(processor) = self.held() else { return pool.inject(coroutine) };
        if let Some(displaced) = processor.swap_lifo(coroutine) {
            // SAFETY: held.
            unsafe { processor.with_queue(|queue| queue.push(displaced)) };
            pool.submitted();
        }
    }

    /// Takes a coroutine that is new: it goes behind the others.
    #[inline]
    pub(crate) fn push_new(&self, pool: &Pool, coroutine: Coroutine) {
        self.load.arrived();
        match self.push_back(coroutine) {
            None if self.in_batch.get() => {}
            None => pool.submitted(),
            Some(coroutine) => pool.inject(coroutine),
        }
    }

    /// Takes a coroutine that was polled just now, and goes behind the others. It is no more work
    /// than there was before that poll, so no sleeper is called for it.
    #[inline]
    pub(crate) fn push_yielded(&self, pool: &Pool, coroutine: Coroutine) {
        if let Some(coroutine) = self.push_back(coroutine) {
            return pool.inject(coroutine);
        }
        // Unless that poll has woken another one, which comes first and may take long.
        if self.held().is_some_and(Processor::has_lifo) {
            pool.submitted();
        }
    }

    /// Queues a coroutine, or gives it back if no processor is held.
    #[inline]
    fn push_back(&self, coroutine: Coroutine) -> Option<Coroutine> {
        let Some(processor) = self.held() else { return Some(coroutine) };
        // SAFETY: held.
        unsafe { processor.with_queue(|queue| queue.push(coroutine)) };
        None
    }
}
