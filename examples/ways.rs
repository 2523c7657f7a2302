//! Six ways to wait for several coroutines, each with what holds afterwards.
//!
//! ```text
//! cargo run --release --example ways
//! ```
//!
//! Each way is a function that prints what it saw. The program ends with an error if one of them
//! does not hold.

#![expect(clippy::print_stdout, reason = "it shows what it does")]

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use corymb::joiner::{AnyOk, PartialOk};
use corymb::prelude::*;
use corymb::sync::channel;
use corymb::{JobState, scoped_value};

#[corymb::main]
async fn main() {
    all_must_succeed().await;
    the_first_success_wins().await;
    partial_success().await;
    one_of_ten_thousand_fails().await;
    a_limit_in_place_of_a_pool().await;
    a_scoped_user().await;
}

/// Counts who is alive, and whoever was.
#[derive(Clone, Default)]
struct Census(Arc<Counts>);

#[derive(Default)]
struct Counts {
    alive: AtomicUsize,
    most: AtomicUsize,
    ever: AtomicUsize,
}

/// Somebody who is counted until it is dropped.
struct Alive(Census);

impl Census {
    fn enter(&self) -> Alive {
        self.0.ever.fetch_add(1, Ordering::SeqCst);
        let alive = self.0.alive.fetch_add(1, Ordering::SeqCst) + 1;
        self.0.most.fetch_max(alive, Ordering::SeqCst);
        Alive(self.clone())
    }

    fn alive(&self) -> usize {
        self.0.alive.load(Ordering::SeqCst)
    }

    fn most(&self) -> usize {
        self.0.most.load(Ordering::SeqCst)
    }

    fn ever(&self) -> usize {
        self.0.ever.load(Ordering::SeqCst)
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.0.alive.fetch_sub(1, Ordering::SeqCst);
    }
}

/// An answer that never comes.
async fn no_answer<T>(census: Census) -> T {
    let _alive = census.enter();
    pending().await
}

async fn all_must_succeed() {
    let page = try_scope(async |s| {
        let user = s.spawn(async { Ok::<_, &str>("Ada") });
        let orders = s.spawn(async { Ok(vec![17, 4]) });
        Ok(format!("{} has {} orders", user.await, orders.await.len()))
    });
    let page = page.await;
    assert_eq!(page.as_deref(), Ok("Ada has 2 orders"));

    let census = Census::default();
    let mut slow = None;
    let failed: Result<u32, _> = try_scope(async |s| {
        let user = s.coroutine().undispatched().spawn(no_answer(census.clone()));
        slow = Some(user.job());
        s.launch(async { Err("no orders") });
        Ok(user.await) // the others are never asked for: it ends here
    })
    .await;
    assert_eq!(failed, Err("no orders"));
    assert_eq!(slow.map(|job| job.state()), Some(JobState::Cancelled));
    assert_eq!((census.ever(), census.alive()), (1, 0));
    println!("all must succeed: {page:?}; then {failed:?}, and the other child has ended");
}

async fn the_first_success_wins() {
    let census = Census::default();
    let first = join_scope(AnyOk::<_, &str>::new(), async |s| {
        s.fork(no_answer(census.clone()));
        s.fork(async { Err("this replica is down") });
        s.fork(async { Ok("from the third replica") });
    })
    .await;
    assert_eq!(first, Ok("from the third replica"));
    assert_eq!(census.alive(), 0);
    println!("the first success wins: {first:?}, and the straggler has ended");
}

async fn partial_success() {
    let census = Census::default();
    let in_time = PartialOk::new().within(Duration::from_millis(250));
    let partial = join_scope(in_time, async |s| {
        s.fork(async { Ok("weather") });
        s.fork(async { Err("no news") });
        s.fork(no_answer(census.clone()));
        s.fork(async { Ok("stocks") });
    })
    .await;
    assert_eq!(partial.values, ["weather", "stocks"]);
    assert_eq!(partial.errors, ["no news"]);
    assert_eq!(partial.unavailable, 1);
    assert_eq!(census.alive(), 0);
    println!("partial success: {partial:?}");
}

async fn one_of_ten_thousand_fails() {
    const CHILDREN: usize = 10_000;
    const FAILS: usize = 5_000;
    let census = Census::default();
    let failed = try_scope(async |s| {
        let (here, all_here) = channel::bounded(CHILDREN);
        for number in 1..=CHILDREN {
            let (census, here, all_here) = (census.clone(), here.clone(), all_here.clone());
            s.launch(async move {
                let _alive = census.enter();
                here.send(number).await.expect("the receiver is there");
                if number != FAILS {
                    return pending::<Result<(), _>>().await;
                }
                for _ in 0..CHILDREN {
                    all_here.recv().await.expect("each child comes");
                }
                Err((number, census.alive(), Instant::now()))
            });
        }
        Ok(())
    });
    let (number, alive, failed_at) = failed.await.expect_err("one child fails");
    let took = failed_at.elapsed();
    assert_eq!((number, alive), (FAILS, CHILDREN));
    assert_eq!((census.ever(), census.alive()), (CHILDREN, 0));
    println!(
        "one of {CHILDREN} fails: the scope returned {took:.1?} after the failure of number \
         {number}, and the other {} have ended",
        CHILDREN - 1
    );
}

async fn a_limit_in_place_of_a_pool() {
    const REQUESTS: usize = 200;
    const AT_ONCE: usize = 8;
    let census = Census::default();
    scope(async |s| {
        let connections = s.limit(AT_ONCE).expect("not zero");
        for _ in 0..REQUESTS {
            let census = census.clone();
            let request = async move {
                let _alive = census.enter();
                sleep(Duration::from_millis(1)).await;
            };
            drop(connections.spawn(request).await); // waits for a free place
        }
    })
    .await;
    assert_eq!((census.ever(), census.alive()), (REQUESTS, 0));
    assert!(census.most() <= AT_ONCE, "{} at once", census.most());
    println!("a limit in place of a pool: {REQUESTS} requests, at most {} at once", census.most());
}

scoped_value! {
    static USER: String;
}

fn user() -> Option<String> {
    USER.try_with(String::clone)
}

async fn a_scoped_user() {
    let request = USER.bind("Ada".into(), async {
        scope(async |s| {
            let child = s.spawn(async {
                let here = thread::current().id();
                let grandchild = scope(async |s| s.spawn(async { user() }).await).await;
                let blocking = blocking(user).await;
                let rebound = USER.bind_sync("Grace".into(), user);
                ([user(), grandchild, blocking], rebound, here)
            });
            child.await
        })
        .await
    });
    let (seen, rebound, thread) = request.await;
    assert_eq!(seen, [Some("Ada"), Some("Ada"), Some("Ada")].map(|it| it.map(String::from)));
    assert_eq!(rebound.as_deref(), Some("Grace"));
    assert_eq!(user(), None);
    println!("a scoped user: Ada in the child (on {thread:?}), its child, and what blocks");
}
