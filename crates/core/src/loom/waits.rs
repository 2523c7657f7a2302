//! Offers: one that is let go at the end of a poll against one that leaves, one that takes, and
//! the end of the coroutine.
//!
//! The primitive is the smallest there is: a permit, and a queue of pointers to those who wait for
//! it. `held` shows two holders at once.

use std::future::poll_fn;
use std::marker::PhantomPinned;
use std::panic::Location;
use std::pin::pin;
use std::ptr::NonNull;

use super::*;
use crate::internal::{Held, KindOfWait, Wait, What};
use crate::prim::{TryMutex, TryMutexGuard, UnsafeCell};
use crate::yield_now;

type Lock = Arc<TryMutex<Permit>>;

struct Permit {
    free: bool,
    queue: VecDeque<NonNull<Waiter>>,
}

// SAFETY: the pointers are followed under the lock that this is in.
unsafe impl Send for Permit {}

#[repr(C)]
struct Waiter {
    wait: Wait,
    lock: Lock,
    /// Under the lock.
    inner: UnsafeCell<Inner>,
    _pinned: PhantomPinned,
}

struct Inner {
    queued: bool,
    called: bool,
    waker: Option<Waker>,
}

// SAFETY: as the field says.
unsafe impl Send for Waiter {}
// SAFETY: as above.
unsafe impl Sync for Waiter {}

impl Permit {
    fn offer(&mut self) -> Option<Waker> {
        if !self.free {
            return None;
        }
        let first = self.queue.pop_front()?;
        self.free = false;
        // SAFETY: it is in the queue, so it is alive, and this is the lock.
        let waker = unsafe { first.as_ref() }.inner.with_mut(|inner| unsafe {
            ((*inner).queued, (*inner).called) = (false, true);
            (*inner).waker.take()
        });
        // SAFETY: as above.
        assert!(unsafe { Wait::offer(first.cast()) }, "all wait in coroutines here");
        waker
    }
}

static KIND: KindOfWait = KindOfWait { name: "permit", let_go };

fn release(lock: &Lock) {
    let mut permit = lock.lock();
    assert!(!permit.free);
    permit.free = true;
    pass_on(permit);
}

fn pass_on(mut permit: TryMutexGuard<'_, Permit>) {
    let waker = permit.offer();
    drop(permit);
    waker.into_iter().for_each(Waker::wake);
}

unsafe fn let_go(wait: NonNull<Wait>, held: Held<'_>) -> bool {
    let waiter = wait.cast::<Waiter>();
    // SAFETY: linked, so alive.
    let lock = unsafe { Arc::clone(&waiter.as_ref().lock) };
    let Some(mut permit) = lock.try_lock() else { return false };
    // SAFETY: linked there, and this is the lock.
    let over = unsafe { held.retract(wait) };
    // SAFETY: as above.
    let (called, queued) = unsafe { waiter.as_ref() }.inner.with_mut(|inner| unsafe {
        let was = ((*inner).called, (*inner).queued);
        (*inner).called = false;
        was
    });
    permit.free |= called;
    assert!(over || !queued, "who is queued was offered nothing");
    if over {
        permit.queue.retain(|it| *it != waiter);
    }
    pass_on(permit);
    true
}

impl Waiter {
    fn new(lock: &Lock) -> Self {
        let inner = Inner { queued: false, called: false, waker: None };
        Self {
            wait: Wait::new(&KIND),
            lock: Arc::clone(lock),
            inner: UnsafeCell::new(inner),
            _pinned: PhantomPinned,
        }
    }

    fn poll(self: Pin<&Self>, cx: &Context<'_>) -> Poll<()> {
        let this = NonNull::from(self.get_ref());
        let mut permit = self.lock.lock();
        // SAFETY: this is the lock.
        let called = self.inner.with_mut(|inner| unsafe { std::mem::take(&mut (*inner).called) });
        if called || permit.free && permit.queue.is_empty() {
            permit.free = false;
            // SAFETY: this is the lock.
            unsafe { Wait::end(this.cast()) };
            return Poll::Ready(());
        }
        let what = What { object: 0, place: Location::caller() };
        // SAFETY: this is the lock, and `drop` ends it.
        assert!(unsafe { Wait::begin(this.cast(), cx.waker(), what) });
        // SAFETY: this is the lock.
        let queued = self.inner.with_mut(|inner| unsafe {
            (*inner).waker = Some(cx.waker().clone());
            std::mem::replace(&mut (*inner).queued, true)
        });
        if !queued {
            permit.queue.push_back(this);
        }
        Poll::Pending
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let this = NonNull::from(&*self);
        let mut permit = self.lock.lock();
        // SAFETY: this is the lock.
        unsafe { Wait::end(this.cast()) };
        permit.queue.retain(|it| *it != this);
        // SAFETY: this is the lock.
        permit.free |= self.inner.with(|inner| unsafe { (*inner).called });
        pass_on(permit);
    }
}

fn taken() -> Lock {
    Arc::new(TryMutex::new(Permit { free: false, queue: VecDeque::new() }))
}

async fn acquire(lock: &Lock) {
    let waiter = pin!(Waiter::new(lock));
    poll_fn(|cx| waiter.as_ref().poll(cx)).await;
}

/// One that gets the permit and releases it.
fn passes_on(runtime: &Runtime, lock: &Lock) -> Job {
    let lock = Arc::clone(lock);
    runtime.scope().launch(async move {
        acquire(&lock).await;
        release(&lock);
    })
}

/// One that was polled once, and waits.
async fn begun(lock: &Lock) -> Pin<Box<Waiter>> {
    let waiter = Box::pin(Waiter::new(lock));
    assert!(poll_fn(|cx| Poll::Ready(waiter.as_ref().poll(cx))).await.is_pending());
    waiter
}

/// One that waits, was polled once, and is kept without being polled while the coroutine waits for
/// something else, `signal`; then it is polled to its end if `resumes`.
async fn stalled(lock: Lock, signal: Arc<Signal>, resumes: bool) {
    let waiter = begun(&lock).await;
    signal.await_it().await;
    if resumes {
        poll_fn(|cx| waiter.as_ref().poll(cx)).await;
        release(&lock);
    }
}

struct Signal(AtomicUsize, Mutex<Option<Waker>>);

impl Signal {
    fn new() -> Arc<Self> {
        Arc::new(Self(AtomicUsize::new(0), Mutex::new(None)))
    }

    async fn await_it(&self) {
        poll_fn(|cx| {
            *self.1.lock() = Some(cx.waker().clone());
            if self.0.load(Ordering::SeqCst) == 1 { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    fn give(&self) {
        self.0.store(1, Ordering::SeqCst);
        let waker = self.1.lock().take();
        waker.into_iter().for_each(Waker::wake);
    }
}

/// Behind one who is not polled any more waits another: that one gets the permit, whoever releases
/// it when; and the first goes on afterwards.
#[test]
fn an_offer_to_one_who_is_stalled() {
    check(|runtime| {
        let lock = taken();
        let signal = Signal::new();
        let first = runtime.scope().launch(stalled(Arc::clone(&lock), Arc::clone(&signal), true));
        runtime.run();
        let second = {
            let (lock, signal) = (Arc::clone(&lock), Arc::clone(&signal));
            runtime.scope().launch(async move {
                acquire(&lock).await;
                release(&lock);
                signal.give();
            })
        };
        runtime.run();
        let other = runtime.start();
        release(&lock);
        runtime.run();
        other.join().unwrap();
        runtime.run();
        assert!(second.is_completed() && first.is_completed());
        assert!(lock.lock().free);
    });
}

/// A waker that is not the coroutine's own, as that of a set of futures.
struct Forward(Waker);

impl Wake for Forward {
    fn wake(self: Arc<Self>) {
        self.0.wake_by_ref();
    }
}

/// As above, of one that waits under another waker, with one more beside it.
#[test]
fn an_offer_to_one_of_a_set() {
    check(|runtime| {
        let lock = taken();
        let first = {
            let lock = Arc::clone(&lock);
            runtime.scope().launch(async move {
                let waiters = [(); 2].map(|()| Box::pin(Waiter::new(&lock)));
                poll_fn(|cx| {
                    let waker = Waker::from(Arc::new(Forward(cx.waker().clone())));
                    for waiter in &waiters {
                        let cx = Context::from_waker(&waker);
                        assert!(waiter.as_ref().poll(&cx).is_pending());
                    }
                    Poll::Ready(())
                })
                .await;
                std::future::pending::<()>().await;
            })
        };
        runtime.run();
        let second = passes_on(runtime, &lock);
        runtime.run();
        let other = runtime.start();
        release(&lock);
        runtime.run();
        other.join().unwrap();
        runtime.run();
        assert!(second.is_completed());
        assert!(lock.lock().free);
        first.cancel();
    });
}

/// As above, and the first is woken by something else at the same time, so that the offer may be
/// noted before it is let go.
#[test]
fn an_offer_to_one_who_is_woken_otherwise() {
    check(|runtime| {
        let lock = taken();
        let first = {
            let lock = Arc::clone(&lock);
            runtime.scope().launch(async move {
                let _kept = begun(&lock).await;
                yield_now().await;
                std::future::pending::<()>().await;
            })
        };
        runtime.run();
        let second = passes_on(runtime, &lock);
        runtime.run();
        let woken = first.clone();
        let other = thread::spawn(move || woken.cancel());
        release(&lock);
        runtime.run();
        other.join().unwrap();
        runtime.run();
        assert!(second.is_completed() && first.is_completed());
        assert!(lock.lock().free);
    });
}

/// The offer comes while its coroutine is polled for something else, and waits in another queue too:
/// it was not passed over, and keeps its turn.
#[test]
fn an_offer_to_one_who_waits_in_two_queues() {
    check(|runtime| {
        let (lock, never) = (taken(), taken());
        let (signal, order) = (Signal::new(), Arc::new(Mutex::new(Vec::new())));
        {
            let (lock, signal, order) =
                (Arc::clone(&lock), Arc::clone(&signal), Arc::clone(&order));
            runtime.scope().launch(async move {
                let waiters = [&lock, &never].map(|lock| Box::pin(Waiter::new(lock)));
                poll_fn(|cx| {
                    *signal.1.lock() = Some(cx.waker().clone());
                    assert!(waiters[1].as_ref().poll(cx).is_pending());
                    waiters[0].as_ref().poll(cx)
                })
                .await;
                order.lock().push("first");
                release(&lock);
            });
        }
        runtime.run();
        {
            let (lock, order) = (Arc::clone(&lock), Arc::clone(&order));
            runtime.scope().launch(async move {
                acquire(&lock).await;
                order.lock().push("second");
                release(&lock);
            });
        }
        runtime.run();
        signal.give();
        let other = runtime.start();
        release(&lock);
        runtime.run();
        other.join().unwrap();
        runtime.run();
        assert_eq!(*order.lock(), ["first", "second"]);
        assert!(lock.lock().free);
    });
}

/// The waiting future was moved elsewhere, and is dropped there while its coroutine ends, or while
/// the permit is offered to it.
#[test]
fn one_that_was_moved_is_dropped_while_its_coroutine_ends() {
    check(|runtime| {
        let lock = taken();
        let moved = Arc::new(Mutex::new(None));
        let signal = Signal::new();
        {
            let (lock, moved, signal) =
                (Arc::clone(&lock), Arc::clone(&moved), Arc::clone(&signal));
            runtime.scope().launch(async move {
                let waiter = begun(&lock).await;
                *moved.lock() = Some(waiter);
                signal.await_it().await;
            });
        }
        runtime.run();
        let waiter = moved.lock().take();
        let other = thread::spawn(move || drop(waiter));
        let releasing = {
            let lock = Arc::clone(&lock);
            thread::spawn(move || release(&lock))
        };
        signal.give();
        runtime.run();
        other.join().unwrap();
        releasing.join().unwrap();
        runtime.run();
        assert!(lock.lock().free);
        assert!(lock.lock().queue.is_empty());
    });
}

/// A side is made while the list is changed.
#[test]
fn a_side_is_made_meanwhile() {
    check(|runtime| {
        let lock = taken();
        let job = passes_on(runtime, &lock);
        runtime.run();
        let joined = job.clone();
        let other = thread::spawn(move || {
            let wakes = Wakes::new();
            let mut join = pin!(joined.join());
            let _may_be_over = poll(join.as_mut(), &wakes);
        });
        release(&lock);
        runtime.run();
        other.join().unwrap();
        runtime.run();
        assert!(job.is_completed());
        assert!(lock.lock().free);
    });
}
