//! The paths, each in a coroutine on the only worker of a runtime.

use std::future::{pending, poll_fn, ready};
use std::hint::black_box;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use corymb::sync::{Mutex, channel};
use corymb::time::{sleep, with_timeout};
use corymb::{Dispatcher, Runtime, blocking, scope, with_context, yield_now};

/// Longer than a run takes.
const FAR: Duration = Duration::from_hours(1);
/// After so many rounds what never waits lets the runtime go on, as a poll is not to be long.
const POLL: u32 = 1_000;

pub(crate) struct Path {
    pub(crate) name: &'static str,
    pub(crate) run: fn(u32),
}

macro_rules! paths {
    ($($name:ident)*) => {
        pub(crate) const PATHS: &[Path] = &[
            $(Path { name: stringify!($name), run: |rounds| on_worker($name(rounds)) },)*
        ];
    };
}

paths! {
    launch spawn_join scope_empty cancel_child
    wake_poll yield_one
    timer_arm_cancel timeout_ready timeout_yield
    hop hop_same hop_blocking
    channel_send_recv lock
}

fn on_worker(body: impl Future<Output = ()> + Send + 'static) {
    // Under valgrind all takes long, and nothing of it is to be found blocked.
    let builder = Runtime::builder().parallelism(1).blocked_threshold(FAR);
    let runtime = builder.build().expect("the runtime starts");
    runtime.run_blocking(runtime.detached(body));
}

/// A child that ends at once.
async fn launch(rounds: u32) {
    scope(async |s| {
        for round in 0..rounds {
            s.launch(async move {
                black_box(round);
            });
            breathe(round).await;
        }
    })
    .await;
}

/// A child whose value is awaited.
async fn spawn_join(rounds: u32) {
    scope(async |s| {
        for round in 0..rounds {
            black_box(s.spawn(async move { round }).await);
        }
    })
    .await;
}

async fn scope_empty(rounds: u32) {
    for round in 0..rounds {
        black_box(scope(async |_| round).await);
        breathe(round).await;
    }
}

/// A child that waits is cancelled and awaited.
async fn cancel_child(rounds: u32) {
    scope(async |s| {
        for _ in 0..rounds {
            let child = s.launch(pending::<()>());
            yield_now().await;
            child.cancel_and_join().await;
        }
    })
    .await;
}

/// A coroutine that wakes itself.
async fn wake_poll(rounds: u32) {
    let mut left = rounds;
    poll_fn(|cx| {
        if left == 0 {
            return Poll::Ready(());
        }
        left -= 1;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

async fn yield_one(rounds: u32) {
    for _ in 0..rounds {
        yield_now().await;
    }
}

/// A timer that is set, and taken out before its time.
async fn timer_arm_cancel(rounds: u32) {
    for round in 0..rounds {
        let mut sleep = pin!(sleep(FAR));
        poll_fn(|cx| {
            assert!(sleep.as_mut().poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
        breathe(round).await;
    }
}

async fn timeout_ready(rounds: u32) {
    for round in 0..rounds {
        black_box(with_timeout(FAR, ready(round)).await.expect("it is ready"));
        breathe(round).await;
    }
}

async fn timeout_yield(rounds: u32) {
    for _ in 0..rounds {
        with_timeout(FAR, yield_now()).await.expect("it is ready soon");
    }
}

/// From Default to IO and back.
async fn hop(rounds: u32) {
    for round in 0..rounds {
        black_box(with_context(Dispatcher::Io, async move { round }).await);
        yield_now().await;
    }
}

async fn hop_same(rounds: u32) {
    for round in 0..rounds {
        black_box(with_context(Dispatcher::Default, ready(round)).await);
        breathe(round).await;
    }
}

async fn hop_blocking(rounds: u32) {
    for round in 0..rounds {
        black_box(blocking(|| round).await);
        yield_now().await;
    }
}

/// A value goes through a channel within one coroutine.
async fn channel_send_recv(rounds: u32) {
    let (sender, receiver) = channel::bounded(16);
    for round in 0..rounds {
        sender.send(round).await.expect("it is open");
        black_box(receiver.recv().await.expect("it is open"));
    }
}

async fn lock(rounds: u32) {
    let mutex = Mutex::new(0);
    for round in 0..rounds {
        *mutex.lock().await = round;
    }
}

async fn breathe(round: u32) {
    if round.is_multiple_of(POLL) {
        yield_now().await;
    }
}
