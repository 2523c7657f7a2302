//! What `select!` promises.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::convert::Infallible;
use std::future::{Ready, pending, poll_fn, ready};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use corymb::prelude::*;
use corymb::testing::{Choice, TestRuntime, drop_at_every_poll, elapsed};
use corymb::time::interval;
use corymb::{local_scope, select};
use corymb_sync::channel::{self, Receiver};
use corymb_sync::{Mutex, RecvError, TryRecvError, oneshot};
use futures::executor::block_on;

use crate::common::{Task, times};

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A channel with values in it.
fn filled<T>(values: impl IntoIterator<Item = T>) -> (channel::Sender<T>, Receiver<T>) {
    let values: Vec<_> = values.into_iter().collect();
    let (tx, rx) = channel::bounded(values.len().max(1));
    for value in values {
        assert!(tx.try_send(value).is_ok());
    }
    (tx, rx)
}

/// Pending once, and woken at once.
async fn once() {
    let mut polled = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut polled, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

mod values {
    use super::*;

    #[test]
    fn the_value_is_that_of_the_body_of_the_first_to_end() {
        let text = block_on(async {
            select! {
                n = async { once().await; 1 } => n.to_string(),
                text = ready("two") => text.into(),
                never = pending::<String>() => never,
            }
        });
        assert_eq!(text, "two");
    }

    #[test]
    fn a_body_may_be_a_block_without_a_comma() {
        let got = block_on(async {
            select! {
                biased,
                _ = pending::<()>() => { 1 }
                _ = pending::<()>() => if true { 2 } else { 3 }
                n = ready(4) => { n }
            }
        });
        assert_eq!(got, 4);
    }

    #[test]
    fn what_can_be_made_a_future_is_one() {
        struct Four;
        impl IntoFuture for Four {
            type Output = i32;
            type IntoFuture = Ready<i32>;
            fn into_future(self) -> Ready<i32> {
                ready(4)
            }
        }
        assert_eq!(
            block_on(async {
                select! { n = Four => n }
            }),
            4
        );
    }

    #[test]
    fn patterns_are_any() {
        const TWO: i32 = 2;
        struct Point {
            x: i32,
            y: String,
        }
        block_on(async {
            let point = Point { x: 1, y: "a".into() };
            select! { Point { x, y: mut text } = async { point } => {
                text.push('b');
                assert_eq!((x, &*text), (1, "ab"));
            }}
            let pair = (Some(String::from("moved")), TWO);
            select! { (Some(text), TWO) = async { pair } => assert_eq!(text, "moved") }
            select! { Ok(n) | Err(n) = ready(Err::<i32, i32>(5)) => assert_eq!(n, 5) }
            select! { | n @ 1..=9 = ready(7) => assert_eq!(n, 7) }
            select! { "text" = ready("text") => {} }
            select! { Some("text") = ready(Some("text")) => {} }
            select! { (&n, ref mut m) = ready((&3, 4)) => {
                *m += n;
                assert_eq!(*m, 7);
            }}
            select! { [first, .., last] = ready([1, 2, 3]) => assert_eq!(first + last, 4) }
        });
    }

    #[test]
    fn outputs_that_cannot_be_are_taken() {
        let n = block_on(async {
            select! {
                n = ready(1) => n,
                never = pending::<Infallible>() => match never {},
            }
        });
        assert_eq!(n, 1);
    }

    #[test]
    fn one_may_stand_in_another() {
        let got = block_on(async {
            select! {
                n = async { select! { n = ready(1) => n, m = pending() => m } } => {
                    select! { m = ready(n + 1) => (n, m) }
                }
                () = pending() => unreachable!(),
            }
        });
        assert_eq!(got, (1, 2));
    }

    #[test]
    fn as_many_as_there_are() {
        macro_rules! many {
            ($($n:literal)*) => { select! { biased, $(n = at($n) => n,)* } };
        }
        async fn at(n: u32) -> u32 {
            if n < 63 { pending().await } else { n }
        }
        let n = block_on(async {
            many!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29
                30 31 32 33 34 35 36 37 38 39 40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56
                57 58 59 60 61 62 63 64 65 66 67 68 69)
        });
        assert_eq!(n, 63);
    }

    #[test]
    fn other_macros_may_write_one() {
        macro_rules! first_of {
            ($($pattern:pat = $future:expr, if $guard:expr => $body:expr;)*) => {
                select! { $($pattern = $future, if $guard => $body),*, else => 0 }
            };
        }
        let got = block_on(async {
            first_of! {
                Some(n @ 1) | Some(n @ 2) = ready(Some(3)), if true => n + 1;
                n = ready(4), if 1 + 1 == 2 => n * 2;
            }
        });
        assert_eq!(got, 8);
    }

    /// Nothing of the prelude has its name, and the macro uses none of the names here.
    #[no_implicit_prelude]
    mod bare {
        #[derive(Debug)]
        struct Some;
        struct None;
        struct Option;
        struct Poll;
        const TRUE: bool = false;

        #[test]
        fn names_do_not_meet() {
            let _unused = (Some, None, Option, Poll, TRUE);
            let (output, selected, enabled, order, fits, f0, cx) = (1, 2, 3, 4, 5, 6, 7);
            let sum = ::futures::executor::block_on(async {
                ::corymb::select! {
                    n = ::std::future::ready(output + selected + enabled), if order == 4 => {
                        n + output + selected + enabled + order + fits + f0 + cx
                    }
                    () = ::std::future::pending() => 0,
                }
            });
            ::std::assert_eq!(sum, 34);
        }
    }
}

mod branches {
    use super::*;

    #[test]
    fn a_value_that_the_pattern_does_not_take_puts_its_branch_out() {
        block_on(async {
            let (tx, closed) = channel::bounded::<u32>(1);
            drop(tx);
            let got = select! {
                biased,
                Ok(n) = closed.recv() => n,
                _ = once() => 7,
            };
            assert_eq!(got, 7);
        });
    }

    #[test]
    fn with_all_of_them_out_it_is_else() {
        block_on(async {
            let got = select! {
                Some(n) = ready(None::<i32>) => n,
                Some(n) = async { once().await; None::<i32> } => n,
                _ = pending::<()>(), if false => 1,
                else => 2,
            };
            assert_eq!(got, 2);
            assert_eq!(select! { else => 3 }, 3);
        });
    }

    #[test]
    #[should_panic(expected = "no branch of this `select!` is left")]
    fn with_all_of_them_out_and_no_else_it_panics() {
        block_on(async {
            select! { Some(()) = ready(None) => {} }
        });
    }

    #[test]
    fn what_a_pattern_does_not_take_is_dropped_with_its_future_at_once() {
        let (alive, held) = (Rc::new(()), Rc::new(()));
        let value = Some(Rc::clone(&alive));
        let of_future = Rc::clone(&held);
        let mut task = Task::waiting(async move {
            select! {
                None = async move { let _held = of_future; value } => {}
                () = pending() => {}
            }
        });
        assert_eq!((Rc::strong_count(&alive), Rc::strong_count(&held)), (1, 1));
        assert!(task.poll().is_pending());
    }

    #[test]
    fn guards_come_first_and_futures_after_them_once_and_in_order() {
        let trace = RefCell::new(Vec::new());
        let note = |what: &'static str, value: bool| {
            trace.borrow_mut().push(what);
            value
        };
        let future = |what| {
            trace.borrow_mut().push(what);
            async { once().await }
        };
        block_on(async {
            select! {
                () = future("f0") => {}
                () = future("f1"), if note("g1", true) => {}
                () = future("f2"), if note("g2", false) => {}
            }
        });
        assert_eq!(*trace.borrow(), ["g1", "g2", "f0", "f1"]);
    }

    #[test]
    fn a_guard_sees_what_a_future_borrows() {
        block_on(async {
            let mut count = 0;
            for _ in 0..5 {
                select! {
                    biased,
                    () = async { count += 1 }, if count < 3 => {}
                    () = ready(()) => {}
                }
            }
            assert_eq!(count, 3);
        });
    }

    #[test]
    fn futures_and_guards_may_await_and_fail() {
        async fn number(text: &str) -> Result<i32, std::num::ParseIntError> {
            let later = async |n: i32| ready(n);
            Ok(select! {
                n = later(text.parse()?).await, if ready(true).await => n,
            })
        }
        assert_eq!(block_on(number("3")), Ok(3));
        assert!(block_on(number("three")).is_err());
    }
}

mod bodies {
    use super::*;

    #[test]
    fn they_are_outside_of_loops_and_closures() {
        async fn run(rx: &Receiver<Result<u32, &'static str>>) -> Result<u32, &'static str> {
            let mut sum = 0;
            'rounds: loop {
                let n = select! {
                    Ok(value) = rx.recv() => value?,
                    else => break,
                };
                sum += select! {
                    biased,
                    _ = ready(()), if n == 1 => continue,
                    _ = ready(()), if n == 2 => break 'rounds,
                    _ = ready(()), if n == 3 => return Ok(3),
                    _ = ready(()) => {
                        once().await;
                        n
                    }
                };
            }
            Ok(sum)
        }
        for (values, expected) in [
            (vec![Ok(5), Ok(1), Ok(6)], Ok(11)),
            (vec![Ok(5), Ok(2), Ok(6)], Ok(5)),
            (vec![Ok(5), Ok(4), Ok(3), Ok(6)], Ok(3)),
            (vec![Ok(5), Err("no"), Ok(6)], Err("no")),
        ] {
            let (tx, rx) = filled(values);
            drop(tx);
            assert_eq!(block_on(run(&rx)), expected);
        }
    }

    /// The losers, and the winner too.
    #[test]
    fn all_futures_are_dropped_before_the_body_runs() {
        struct OnDrop(Rc<RefCell<Vec<&'static str>>>, &'static str);
        impl Drop for OnDrop {
            fn drop(&mut self) {
                self.0.borrow_mut().push(self.1);
            }
        }
        let trace = Rc::new(RefCell::new(Vec::new()));
        let on_drop = |what| OnDrop(Rc::clone(&trace), what);
        let never = async |_held: OnDrop| pending::<()>().await;
        block_on(async {
            let waiting = async |held: OnDrop| {
                once().await;
                drop(held);
            };
            select! {
                biased,
                () = never(on_drop("first")) => {}
                () = waiting(on_drop("winner")) => trace.borrow_mut().push("body"),
                () = never(on_drop("unpolled in the end")) => {}
            }
        });
        assert_eq!(*trace.borrow(), ["winner", "unpolled in the end", "first", "body"]);
    }

    #[test]
    fn they_may_use_what_the_futures_have_borrowed() {
        block_on(async {
            let mut count = 0;
            select! {
                biased,
                () = async { count += 1; pending().await } => {}
                () = async { once().await } => count += 10,
            }
            assert_eq!(count, 11);
        });
    }

    #[test]
    fn what_the_pattern_does_not_bind_is_dropped_after_them() {
        block_on(async {
            let mutex = Mutex::new(());
            select! { _ = mutex.lock() => assert!(mutex.is_locked()) }
            assert!(!mutex.is_locked());
        });
    }

    #[test]
    fn they_may_lock_what_a_loser_waited_for() {
        block_on(async {
            let mutex = Mutex::new(1);
            let guard = mutex.lock().await;
            select! {
                biased,
                _ = mutex.lock() => unreachable!(),
                () = once() => {
                    drop(guard);
                    assert_eq!(*mutex.try_lock().unwrap(), 1);
                }
            }
        });
    }
}

mod order {
    use super::*;

    /// The order in which a `select!` polls branches that are all pending.
    async fn polled() -> [usize; 3] {
        let seen = std::sync::Mutex::new(Vec::new());
        let branch = async |n| {
            seen.lock().unwrap().push(n);
            once().await;
        };
        select! {
            () = branch(0) => {}
            () = branch(1) => {}
            () = branch(2) => {}
        }
        seen.into_inner().unwrap().try_into().unwrap()
    }

    fn with_seed(seed: u64) -> ([usize; 3], Vec<usize>) {
        let runtime = TestRuntime::builder().seed(seed).build();
        let order = runtime.run(polled());
        let choices = runtime.choices();
        assert!(choices.iter().all(|it| matches!(it.choice, Choice::Branch)), "{choices:?}");
        (order, choices.iter().map(|it| it.options).collect())
    }

    #[test]
    fn a_seed_repeats_it_and_seeds_reach_every_one() {
        let seeds = u64::try_from(times(200)).unwrap();
        let orders: HashSet<_> = (0..seeds)
            .map(|seed| {
                let (order, options) = with_seed(seed);
                assert_eq!(with_seed(seed), (order, options.clone()));
                // Two draws settle three places, and the second poll draws nothing.
                assert_eq!(options, [3, 2]);
                order
            })
            .collect();
        if !cfg!(miri) {
            assert_eq!(orders.len(), 6, "{orders:?}");
        }
    }

    #[test]
    fn what_makes_no_difference_is_not_drawn() {
        let runtime = TestRuntime::new();
        let options = |runtime: &TestRuntime| -> Vec<_> {
            runtime.choices().iter().map(|it| it.options).collect()
        };
        runtime.run(async {
            select! { biased, () = once() => {}, () = once() => {} }
            select! { () = once() => {} }
            select! { () = once() => {}, () = once(), if false => {} }
        });
        assert_eq!(options(&runtime), []);
        // Behind one that is ready at once nobody is polled.
        runtime.run(async {
            select! { () = ready(()) => {}, () = ready(()) => {}, () = ready(()) => {} }
        });
        assert_eq!(options(&runtime), [3]);
    }

    /// How often each of three wins, of which the middle one is never ready.
    async fn wins(rounds: usize) -> [usize; 3] {
        let mut wins = [0; 3];
        for _ in 0..rounds {
            let winner = select! {
                () = ready(()) => 0,
                () = pending() => 1,
                () = ready(()) => 2,
            };
            wins[winner] += 1;
        }
        wins
    }

    /// They are equally likely to win, whatever stands between them.
    #[test]
    fn those_that_are_ready_win_in_turns() {
        let rounds = times(10_000);
        for wins in [block_on(wins(rounds)), TestRuntime::new().run(wins(rounds))] {
            assert_eq!(wins[1], 0);
            for n in [0, 2] {
                assert!(cfg!(miri) || wins[n] > rounds * 2 / 5, "{wins:?}");
            }
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "miri has no reactor")]
    fn those_that_are_ready_win_in_turns_on_the_pool() {
        let wins = run_blocking(scope(async |s| s.spawn(wins(10_000)).await));
        assert!(wins[0].min(wins[2]) > 4_000, "{wins:?}");
    }

    #[test]
    fn biased_is_the_one_written_in_each_poll() {
        let wins = block_on(async {
            let mut wins = [0; 3];
            for _ in 0..times(1_000) {
                let winner = select! {
                    biased,
                    () = pending() => 0,
                    () = async { once().await } => 1,
                    () = async { once().await } => 2,
                };
                wins[winner] += 1;
            }
            wins
        });
        assert_eq!(wins, [0, times(1_000), 0]);
    }
}

mod waiting {
    use super::*;

    #[test]
    fn a_loser_s_offer_goes_to_the_next() {
        let (a, from_a) = channel::bounded(1);
        let (b, from_b) = channel::bounded(1);
        let mut selecting = Task::waiting(async {
            select! {
                biased,
                got = from_a.recv() => got,
                got = from_b.recv() => got,
            }
        });
        let mut next = Task::waiting(from_b.recv());
        b.try_send(2).unwrap();
        assert!(!next.woken(), "it is the first one's");
        a.try_send(1).unwrap();
        assert_eq!(selecting.poll(), Poll::Ready(Ok(1)));
        assert!(next.woken());
        assert_eq!(next.poll(), Poll::Ready(Ok(2)));
    }

    /// Of two channels: what was sent there, what was received, and what is left.
    #[derive(Default)]
    struct Account {
        sent: [usize; 2],
        got: [Vec<usize>; 2],
        left: Vec<Receiver<usize>>,
    }

    #[test]
    fn dropped_at_any_poll_it_loses_no_value() {
        let account = Arc::new(std::sync::Mutex::new(Account::default()));
        let polls = drop_at_every_poll(
            |s| {
                let channels = [(); 2].map(|()| channel::bounded(1));
                let [a, b] = channels.each_ref().map(|(_, rx)| rx.clone());
                let left = vec![a.clone(), b.clone()];
                *account.lock().unwrap() = Account { left, ..Account::default() };
                for (to, (tx, _)) in channels.into_iter().enumerate() {
                    let account = Arc::clone(&account);
                    s.launch(async move {
                        for n in 0..3 {
                            yield_now().await;
                            tx.send(n).await.unwrap();
                            account.lock().unwrap().sent[to] += 1;
                        }
                    });
                }
                let account = Arc::clone(&account);
                async move {
                    for _ in 0..6 {
                        let (from, n) = select! {
                            Ok(n) = a.recv() => (0, n),
                            Ok(n) = b.recv() => (1, n),
                        };
                        account.lock().unwrap().got[from].push(n);
                    }
                }
            },
            |_| {
                let Account { sent, got, left } = std::mem::take(&mut *account.lock().unwrap());
                for ((sent, mut got), left) in sent.into_iter().zip(got).zip(left) {
                    got.extend(left.try_recv());
                    assert_eq!(got, (0..sent).collect::<Vec<_>>());
                }
            },
        );
        assert!(polls > 2);
    }

    /// A `recv()` of its own in each round queues anew; one that is kept stays where it is.
    #[test]
    fn a_kept_future_keeps_its_place_and_a_new_one_does_not() {
        for kept in [false, true] {
            let (tx, rx) = channel::bounded(1);
            let (tick, ticks) = channel::bounded(1);
            let mut selecting = Task::waiting(async {
                let mut recv = pin!(rx.recv());
                loop {
                    select! {
                        biased,
                        _ = ticks.recv() => {}
                        got = &mut recv, if kept => break got,
                        got = rx.recv(), if !kept => break got,
                    }
                }
            });
            let mut other = Task::waiting(rx.recv());
            tick.try_send(()).unwrap();
            assert!(selecting.poll().is_pending());
            tx.try_send(1).unwrap();
            assert_eq!((selecting.woken(), other.woken()), (kept, !kept));
            let first = if kept { selecting.poll() } else { other.poll() };
            assert_eq!(first, Poll::Ready(Ok(1)));
        }
    }

    /// While a body runs nobody polls what is kept.
    #[test]
    fn a_kept_future_does_not_hold_up_others_while_a_body_runs() {
        TestRuntime::new().run(scope(async |s| {
            let (tx, rx) = channel::bounded(1);
            let (go, gone) = oneshot::channel();
            let selecting = s.spawn({
                let rx = rx.clone();
                async move {
                    let mut recv = pin!(rx.recv());
                    let mut gone = Some(gone);
                    select! {
                        biased,
                        _ = &mut recv => unreachable!(),
                        () = yield_now() => gone.take().unwrap().await.unwrap(),
                    }
                    recv.await
                }
            });
            yield_now().await;
            yield_now().await;
            let second = s.spawn(async move { rx.recv().await });
            yield_now().await;
            tx.send(1).await.unwrap();
            assert_eq!(second.await, Ok(1));
            go.send(()).unwrap();
            tx.send(2).await.unwrap();
            assert_eq!(selecting.await, Ok(2));
        }));
    }

    /// Two that are always ready: one that has used up the budget does not leave it to the other.
    #[test]
    fn branches_that_are_always_ready_give_way() {
        for biased in [false, true] {
            TestRuntime::new().run(scope(async move |s| {
                let stop = Arc::new(AtomicBool::new(false));
                let stopped = Arc::clone(&stop);
                let always = s.spawn(async move {
                    let [(a, from_a), (b, from_b)] = [(); 2].map(|()| filled([()]));
                    let mut rounds = 0;
                    while !stopped.load(Ordering::SeqCst) {
                        rounds += 1;
                        assert!(rounds < 10_000, "it never gives way");
                        if biased {
                            select! {
                                biased,
                                Ok(()) = from_a.recv() => a.try_send(()).unwrap(),
                                Ok(()) = from_b.recv() => b.try_send(()).unwrap(),
                            }
                        } else {
                            select! {
                                Ok(()) = from_a.recv() => a.try_send(()).unwrap(),
                                Ok(()) = from_b.recv() => b.try_send(()).unwrap(),
                            }
                        }
                    }
                    rounds
                });
                s.launch(async move { stop.store(true, Ordering::SeqCst) });
                assert_eq!(always.await, 129, "the budget of a poll, and the one that gave way");
            }));
        }
    }

    /// It uses up the budget of each poll.
    #[corymb::test]
    async fn a_branch_that_never_has_to_wait_starves_no_other() {
        let endless = async || {
            let (tx, rx) = filled([()]);
            loop {
                rx.recv().await.unwrap();
                tx.send(()).await.unwrap();
            }
        };
        for _ in 0..times(10) {
            let (go, gone) = oneshot::channel();
            go.send(()).unwrap();
            select! {
                biased,
                never = endless() => never,
                never = endless() => never,
                () = async { gone.await.unwrap() } => {}
            }
            select! {
                never = endless() => never,
                () = yield_now() => {}
            }
        }
    }

    #[test]
    fn it_is_sent_with_what_it_waits_for() {
        TestRuntime::new().run(scope(async |s| {
            let (tx, rx) = channel::bounded(1);
            let child = s.spawn(async move {
                select! {
                    got = rx.recv() => got,
                    () = sleep(ms(10)) => Err(RecvError::Closed),
                }
            });
            tx.send(1).await.unwrap();
            assert_eq!(child.await, Ok(1));
        }));
    }

    #[test]
    fn a_cancel_drops_it_and_gives_up_its_places() {
        TestRuntime::new().run(scope(async |s| {
            let (tx, rx) = channel::bounded(1);
            let (_keep, other) = channel::bounded::<u32>(1);
            let selecting = s.launch({
                let rx = rx.clone();
                async move {
                    select! {
                        _ = rx.recv() => unreachable!(),
                        _ = other.recv() => unreachable!(),
                    }
                }
            });
            yield_now().await;
            tx.try_send(1).unwrap();
            selecting.cancel();
            selecting.join().await;
            assert_eq!(rx.try_recv(), Ok(1));
            assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
        }));
    }
}

mod beside {
    use super::*;

    #[corymb::test]
    async fn timeouts() {
        let got = select! {
            biased,
            got = with_timeout(ms(20), pending::<()>()) => got.is_err(),
            () = sleep(ms(30)) => false,
        };
        assert!(got);
        assert_eq!(elapsed(), ms(20));
        let outer = with_timeout(ms(5), async {
            select! { () = sleep(ms(30)) => {}, () = pending() => {} }
        });
        assert!(outer.await.is_err());
        assert_eq!(elapsed(), ms(25));
    }

    #[corymb::test]
    async fn scopes() {
        // The loser's child is cancelled, and has ended when the caller's coroutine does.
        let dropped = Arc::new(());
        let held = Arc::clone(&dropped);
        let n = select! {
            n = scope(async |s| {
                s.launch(async move {
                    let _held = held;
                    pending::<()>().await;
                });
                pending().await
            }) => n,
            () = sleep(ms(1)) => 2,
        };
        assert_eq!(n, 2);
        yield_now().await;
        assert_eq!(Arc::strong_count(&dropped), 1);
    }

    #[corymb::test(local)]
    async fn children_that_borrow() {
        let total = Cell::new(0);
        local_scope(async |s| {
            let (tx, rx) = channel::bounded(1);
            let mut adding = s.spawn(async { ready(1).await });
            let mut done = false;
            s.launch(async move { tx.send(5).await.unwrap() });
            while total.get() < 6 {
                select! {
                    n = &mut adding, if !done => {
                        done = true;
                        total.set(total.get() + n);
                    }
                    Ok(n) = rx.recv() => total.set(total.get() + n),
                }
            }
        })
        .await;
        assert_eq!(total.get(), 6);
    }

    #[corymb::test]
    async fn ticks_in_a_loop() {
        let mut ticks = interval(ms(10));
        let mut work = pin!(sleep(ms(35)));
        let mut count = 0;
        loop {
            select! {
                () = &mut work => break,
                _ = ticks.tick() => count += 1,
            }
        }
        assert_eq!(count, 4);
    }

    #[test]
    fn executors_that_know_nothing_of_it() {
        let (tx, rx) = oneshot::channel();
        let (stop, stopped) = channel::bounded::<()>(1);
        let thread = std::thread::spawn(move || {
            tx.send(3).unwrap();
            drop(stop);
        });
        let mut rx = rx;
        let got = block_on(async {
            let mut closed = false;
            loop {
                select! {
                    got = &mut rx => break got,
                    Err(_) = stopped.recv(), if !closed => closed = true,
                }
            }
        });
        assert_eq!(got, Ok(3));
        thread.join().unwrap();
    }
}

/// A future that panics takes the others with it.
#[test]
fn a_panic_of_a_branch_is_the_select_s() {
    struct Bomb;
    impl Future for Bomb {
        type Output = ();
        fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
            panic!("of the branch");
        }
    }
    let alive = Rc::new(());
    let held = Rc::clone(&alive);
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        block_on(async {
            select! {
                biased,
                () = async move { let _held = held; pending().await } => {}
                () = Bomb => {}
            }
        });
    }));
    assert_eq!(*panicked.unwrap_err().downcast::<&str>().unwrap(), "of the branch");
    assert_eq!(Rc::strong_count(&alive), 1);
}
