//! Notifications: one that is for one is taken once and never lost, but for those that nobody waits
//! for, of which one is kept.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use corymb::{scope, yield_now};
use corymb_sync::Notify;
use futures::FutureExt;
use futures::future::BoxFuture;

use crate::ground::{Asker, Chance, Ledger, TASKS, Token, dawdle, moved, try_some};

const EACH: usize = 200;
const SENDERS: usize = TASKS / 2;
const RECEIVERS: usize = TASKS - SENDERS;

pub(crate) fn round(chance: Chance) -> BoxFuture<'static, ()> {
    match chance.one_in(2) {
        true => queue(chance).boxed(),
        false => count(chance).boxed(),
    }
}

/// A queue of which those who wait are told: what is lost leaves a value behind that nobody takes.
struct Queue {
    values: Mutex<Vec<Token>>,
    pushed: Notify,
    /// How many values are still to be taken.
    left: AtomicUsize,
}

async fn queue(chance: Chance) {
    let ledger = Ledger::new(SENDERS * EACH);
    let queue = Arc::new(Queue {
        values: Mutex::default(),
        pushed: Notify::new(),
        left: AtomicUsize::new(SENDERS * EACH),
    });
    scope(async |s| {
        for sender in 0..SENDERS {
            s.launch(push(queue.clone(), chance.fork(), ledger.clone(), sender * EACH));
        }
        for _ in 0..RECEIVERS {
            s.launch(pop(queue.clone(), chance.fork()));
        }
    })
    .await;
    ledger.check(SENDERS * EACH);
    assert!((0..SENDERS * EACH).all(|n| ledger.has(n) == 1));
    assert_eq!(queue.pushed.statistics().waiting, 0);
}

async fn push(queue: Arc<Queue>, chance: Chance, ledger: Arc<Ledger>, first: usize) {
    for n in first..first + EACH {
        queue.values.lock().unwrap().push(ledger.make(n));
        queue.pushed.notify_one();
        if chance.one_in(20) {
            queue.pushed.notify_all();
        }
        dawdle(&chance).await;
    }
}

async fn pop(queue: Arc<Queue>, chance: Chance) {
    while queue.left.load(Ordering::SeqCst) > 0 {
        let mut pushed = Box::pin(queue.pushed.notified());
        pushed.as_mut().enable().await;
        let token = queue.values.lock().unwrap().pop();
        if let Some(token) = token {
            token.had();
            if queue.left.fetch_sub(1, Ordering::SeqCst) == 1 {
                queue.pushed.notify_all();
            }
        } else if queue.left.load(Ordering::SeqCst) > 0 {
            try_some(&chance, pushed).await.done();
        }
    }
}

/// How many were given and taken, by those who wait and those who notify.
struct Counts {
    notify: Notify,
    given: AtomicUsize,
    taken: AtomicUsize,
    /// How many still wait now and then.
    waiting: AtomicUsize,
}

impl Counts {
    fn take(&self) {
        moved();
        let taken = self.taken.fetch_add(1, Ordering::SeqCst) + 1;
        let given = self.given.load(Ordering::SeqCst);
        assert!(taken <= given, "{taken} taken of {given}");
    }
}

async fn count(chance: Chance) {
    let counts = Arc::new(Counts {
        notify: Notify::new(),
        given: AtomicUsize::new(0),
        taken: AtomicUsize::new(0),
        waiting: AtomicUsize::new(RECEIVERS),
    });
    scope(async |s| {
        for _ in 0..SENDERS {
            s.launch(give(counts.clone(), chance.fork()));
        }
        for _ in 0..RECEIVERS {
            s.launch(take(counts.clone(), chance.fork()));
        }
    })
    .await;
    let end = counts.notify.statistics();
    assert_eq!(end.waiting, 0);
    let taken = counts.taken.load(Ordering::SeqCst) + usize::from(end.is_notified);
    assert!(taken <= counts.given.load(Ordering::SeqCst));
}

async fn give(counts: Arc<Counts>, chance: Chance) {
    while counts.waiting.load(Ordering::SeqCst) > 0 {
        counts.given.fetch_add(1, Ordering::SeqCst);
        counts.notify.notify_one();
        yield_now().await;
        dawdle(&chance).await;
    }
}

async fn take(counts: Arc<Counts>, chance: Chance) {
    let mut asker = Asker::new(&chance);
    for _ in 0..EACH {
        if asker.look().await.is_some() {
            counts.take();
        }
        if asker.ask(counts.notify.notified()).await.is_some() {
            counts.take();
        }
    }
    counts.waiting.fetch_sub(1, Ordering::SeqCst);
}
