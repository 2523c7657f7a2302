//! What `race` promises.

use std::future::{Ready, pending, ready};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use corymb::prelude::*;
use corymb::testing::{TestRuntime, drop_at_every_poll, elapsed};
use corymb_sync::{channel, race};
use futures::executor::block_on;

use crate::common::Task;

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[corymb::test]
async fn the_first_to_end_gives_its_output() {
    let after = async |millis| {
        sleep(ms(millis)).await;
        millis
    };
    assert_eq!(race((after(30), after(10), after(20))).await, 10);
    assert_eq!(race([after(3), after(2), after(1)]).await, 1);
    assert_eq!(race(vec![after(7)]).await, 7);
    assert_eq!(elapsed(), ms(18));
}

#[test]
fn a_tuple_may_have_twelve_of_any_types() {
    let no = pending::<u32>;
    let all = (no(), no(), no(), no(), no(), no(), no(), no(), no(), no(), no(), async { 12 });
    assert_eq!(block_on(race(all)), 12);
}

#[test]
fn of_those_that_are_ready_the_first_wins() {
    for _ in 0..20 {
        assert_eq!(block_on(race((pending(), ready(2), ready(3)))), 2);
        assert_eq!(block_on(race([ready(1), ready(2)])), 1);
        assert_eq!(block_on(race(vec![ready(1), ready(2)])), 1);
    }
}

/// A future that holds `held`, and ends when that is `ends`.
async fn holding(held: Rc<()>, ends: bool) {
    if !ends {
        pending::<()>().await;
    }
    drop(held);
}

#[test]
fn the_losers_are_dropped_before_it_returns() {
    let held = Rc::new(());
    let [a, b] = [false, true].map(|ends| holding(Rc::clone(&held), ends));
    let mut in_tuple = Task::new(race((a, b, async { pending().await })));
    let [a, b, c] = [false, true, false].map(|ends| holding(Rc::clone(&held), ends));
    let mut in_vec = Task::new(race(vec![a, b, c]));
    assert_eq!(Rc::strong_count(&held), 6);
    assert_eq!((in_tuple.poll(), Rc::strong_count(&held)), (Poll::Ready(()), 4));
    assert_eq!((in_vec.poll(), Rc::strong_count(&held)), (Poll::Ready(()), 1));
}

#[test]
fn who_is_dropped_drops_all() {
    let held = Rc::new(());
    let racing = Task::waiting(race([0, 1].map(|_| holding(Rc::clone(&held), false))));
    assert_eq!(Rc::strong_count(&held), 3);
    drop(racing);
    assert_eq!(Rc::strong_count(&held), 1);
}

#[test]
fn dropped_at_any_poll_it_loses_no_value() {
    let left = std::sync::Mutex::new(None);
    let received = Arc::new(AtomicBool::new(false));
    let polls = drop_at_every_poll(
        |s| {
            let (tx, rx) = channel::bounded(1);
            let (_, closed) = (tx.clone(), rx.clone());
            *left.lock().unwrap() = Some(rx.clone());
            received.store(false, Ordering::SeqCst);
            s.launch(async move {
                yield_now().await;
                tx.send(7).await.unwrap();
            });
            let received = Arc::clone(&received);
            async move {
                assert_eq!(race((rx.recv(), closed.recv())).await, Ok(7));
                received.store(true, Ordering::SeqCst);
            }
        },
        |_| {
            let left = left.lock().unwrap().take().unwrap().try_recv().ok();
            let expected = if received.load(Ordering::SeqCst) { None } else { Some(7) };
            assert_eq!(left, expected);
        },
    );
    assert_eq!(polls, 2);
}

/// One that has used up the budget does not leave it to the next.
#[test]
fn it_gives_way_in_a_loop() {
    TestRuntime::new().run(scope(async |s| {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let always = s.spawn(async move {
            let [(a, from_a), (b, from_b)] = [(); 2].map(|()| channel::bounded(1));
            let mut rounds = 0;
            while !stopped.load(Ordering::SeqCst) {
                rounds += 1;
                assert!(rounds < 10_000, "it never gives way");
                let _full = (a.try_send(()), b.try_send(()));
                race([from_a.recv(), from_b.recv()]).await.unwrap();
            }
            rounds
        });
        s.launch(async move { stop.store(true, Ordering::SeqCst) });
        assert_eq!(always.await, 129, "the budget of a poll, and the one that gave way");
    }));
}

#[corymb::test]
async fn one_that_never_has_to_wait_starves_no_other() {
    let (tx, rx) = channel::bounded(1);
    let endless = async {
        loop {
            tx.send(()).await.unwrap();
            rx.recv().await.unwrap();
        }
    };
    race((endless, yield_now())).await;
}

#[test]
fn none_is_refused() {
    let message =
        |f: &dyn Fn()| *catch_unwind(AssertUnwindSafe(f)).unwrap_err().downcast::<&str>().unwrap();
    let expected = "`race` of no futures would never end: give it one, or ask before the call";
    assert_eq!(message(&|| drop(race::<[Ready<()>; 0]>([]))), expected);
    assert_eq!(message(&|| drop(race(Vec::<Ready<()>>::new()))), expected);
}

#[test]
#[should_panic(expected = "a `Race` is not to be polled after it was done")]
fn what_is_done_is_not_polled_again() {
    let mut race = race([ready(1)]);
    assert_eq!(block_on(&mut race), 1);
    block_on(&mut race);
}

#[test]
fn it_is_unpin_as_its_futures_are() {
    fn is_unpin<T: Unpin>(_: &T) {}
    is_unpin(&race((ready(1), ready(2))));
    let boxed = || -> Pin<Box<dyn Future<Output = u8>>> { Box::pin(async { 1 }) };
    is_unpin(&race(vec![boxed(), boxed()]));
    is_unpin(&race([boxed(), boxed()]));
}
