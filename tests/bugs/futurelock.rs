//! A lock that is handed to the one who has waited longest, though that one is not polled any more:
//! a loop with `select!` keeps its wait, and waits again in the body of another branch.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex as Plain};
use std::task::{Poll, Waker};

use corymb::prelude::*;
use corymb::select;
use corymb::sync::{Mutex, channel};

trait Lock: Send + Sync + 'static {
    fn lock(&self) -> impl Future<Output = impl Sized + Send> + Send;
}

impl Lock for Mutex<()> {
    fn lock(&self) -> impl Future<Output = impl Sized + Send> + Send {
        Self::lock(self)
    }
}

/// Whoever unlocks gives the lock to the next in the queue, come what may.
#[derive(Default)]
struct HandedOver(Plain<(bool, VecDeque<Arc<Next>>)>);

struct Next {
    has_it: AtomicBool,
    waker: Plain<Waker>,
}

struct Guard<'a>(&'a HandedOver);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        let mut state = self.0.0.lock().unwrap();
        let Some(next) = state.1.pop_front() else {
            state.0 = false;
            return;
        };
        next.has_it.store(true, SeqCst);
        next.waker.lock().unwrap().wake_by_ref();
    }
}

impl Lock for HandedOver {
    async fn lock(&self) -> impl Sized + Send {
        let mut queued: Option<Arc<Next>> = None;
        poll_fn(|cx| {
            if let Some(next) = &queued {
                next.waker.lock().unwrap().clone_from(cx.waker());
                return if next.has_it.load(SeqCst) { Poll::Ready(()) } else { Poll::Pending };
            }
            let mut state = self.0.lock().unwrap();
            if !std::mem::replace(&mut state.0, true) {
                return Poll::Ready(());
            }
            let (has_it, waker) = (AtomicBool::new(false), Plain::new(cx.waker().clone()));
            let next = queued.insert(Arc::new(Next { has_it, waker }));
            state.1.push_back(Arc::clone(next));
            Poll::Pending
        })
        .await;
        Guard(self)
    }
}

pub(crate) async fn run(fixed: bool) {
    match fixed {
        true => with_lock(Arc::new(Mutex::new(()))).await,
        false => with_lock(Arc::new(HandedOver::default())).await,
    }
}

async fn with_lock(lock: Arc<impl Lock>) {
    scope(async |s| {
        let (tx, rx) = channel::bounded(1);
        let journal = Arc::new(Mutex::new(0));
        let (sends, writes) = (Arc::clone(&lock), Arc::clone(&journal));
        s.launch(async move {
            for n in 0..3 {
                let _ = tx.send(n).await;
                let _guard = sends.lock().await;
                *writes.lock().await += n;
            }
        });
        s.launch(async move {
            for _ in 0..2 {
                let mut ours = pin!(lock.lock());
                loop {
                    select! {
                        _guard = &mut ours => break *journal.lock().await += 1,
                        Ok(n) = rx.recv() => {
                            let _guard = lock.lock().await;
                            *journal.lock().await -= n;
                        }
                    }
                }
            }
        });
    })
    .await;
}
