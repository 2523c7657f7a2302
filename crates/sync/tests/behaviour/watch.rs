//! What a watch channel promises.

use std::sync::Arc;
use std::task::Poll;
use std::thread;

use corymb_sync::watch;
use corymb_sync::{RecvError, SendError};
use futures::StreamExt as _;
use futures::executor::block_on;
use proptest::prelude::*;

use crate::common::Task;

#[test]
fn a_new_receiver_has_seen_the_current_value() {
    let (tx, rx) = watch::channel(1);
    tx.send(2).unwrap();
    assert!(rx.has_changed());
    for rx in [tx.subscribe(), rx.clone()] {
        assert_eq!((rx.has_changed(), *rx.borrow()), (false, 2));
    }
    let mut rx = rx.clone();
    rx.mark_changed();
    assert_eq!(block_on(rx.changed()), Ok(()));
    assert!(Task::new(rx.changed()).poll().is_pending());
}

#[test]
fn a_send_wakes_all_who_wait() {
    let (tx, rx) = watch::channel(0);
    let mut receivers: Vec<_> = (0..9).map(|_| rx.clone()).collect();
    let mut waiting: Vec<_> = receivers.iter_mut().map(|rx| Task::waiting(rx.changed())).collect();
    assert_eq!(tx.statistics().waiting, 9);
    assert_eq!((tx.send(1), tx.send(2)), (Ok(()), Ok(())));
    for task in &mut waiting {
        assert_eq!(task.wakes(), 1);
        assert_eq!(task.poll(), Poll::Ready(Ok(())));
    }
    drop(waiting);
    assert!(receivers.iter().all(|rx| !rx.has_changed() && *rx.borrow() == 2));
}

#[test]
fn a_close_tells_the_last_value_first() {
    let (tx, mut rx) = watch::channel(0);
    let other = tx.clone();
    let mut waiting = rx.clone();
    let mut waiting = Task::waiting(waiting.changed());
    tx.send(1).unwrap();
    drop(tx);
    assert!(!rx.is_closed());
    assert!(other.close() && !other.close());
    assert_eq!(other.send(2), Err(SendError(2)));
    assert_eq!(waiting.poll(), Poll::Ready(Ok(())));
    assert_eq!(block_on(rx.changed()), Ok(()));
    assert_eq!(block_on(rx.changed()), Err(RecvError::Closed));
    assert_eq!(*rx.borrow(), 1);
}

#[test]
fn the_last_sender_wakes_who_waits() {
    let (tx, mut rx) = watch::channel(0);
    let mut changed = Task::waiting(rx.changed());
    drop(tx);
    assert!(changed.woken());
    assert_eq!(changed.poll(), Poll::Ready(Err(RecvError::Closed)));
}

#[test]
fn a_snapshot_holds_up_nobody() {
    let (tx, rx) = watch::channel(vec![1]);
    let snapshot = rx.borrow();
    tx.send(vec![2]).unwrap();
    tx.send_modify(|list| list.push(3)).unwrap();
    assert_eq!((&*snapshot, &*rx.borrow()), (&vec![1], &vec![2, 3]));
}

#[test]
fn a_modification_may_use_the_channel_and_is_repeated() {
    let (tx, mut rx) = watch::channel(1);
    let mut calls = 0;
    tx.send_modify(|n| {
        calls += 1;
        if calls == 1 {
            tx.send(10).unwrap();
        }
        *n += 1;
    })
    .unwrap();
    assert_eq!((calls, *rx.borrow_and_update()), (2, 11));
    assert_eq!(tx.send_if_modified(|_| false), Ok(false));
    assert!(!rx.has_changed());
    tx.close();
    assert_eq!(tx.send_if_modified(|_| unreachable!()), Err(SendError(())));
}

#[test]
fn no_modification_is_lost_on_threads() {
    let (tx, rx) = watch::channel(0);
    let each = if cfg!(miri) { 5 } else { 500 };
    thread::scope(|s| {
        for _ in 0..2 {
            s.spawn(|| {
                for _ in 0..each {
                    tx.send_modify(|n| *n += 1).unwrap();
                }
            });
        }
        let mut rx = rx.clone();
        s.spawn(move || assert!(block_on(rx.wait_for(|&n| n == 2 * each)).is_ok()));
    });
    assert_eq!(*rx.borrow(), 2 * each);
}

#[test]
fn wait_for_looks_at_the_current_value_first() {
    let (tx, mut rx) = watch::channel(1);
    assert_eq!(block_on(rx.wait_for(|&n| n == 1)).as_deref(), Ok(&1));
    let mut asked = Vec::new();
    {
        let mut wait = Task::waiting(rx.wait_for(|&n| {
            asked.push(n);
            n > 2
        }));
        for n in 2..=3 {
            tx.send(n).unwrap();
            assert!(wait.woken());
            assert_eq!(
                wait.poll().map(|got| *got.unwrap()),
                [Poll::Pending, Poll::Ready(3)][n - 2]
            );
        }
    }
    assert_eq!(asked, [1, 2, 3]);
    assert!(!rx.has_changed());
    drop(tx);
    assert_eq!(block_on(rx.wait_for(|&n| n == 3)).as_deref(), Ok(&3), "closed, and true of it");
    assert_eq!(block_on(rx.wait_for(|&n| n == 4)), Err(RecvError::Closed));
}

#[test]
fn futures_dropped_at_any_poll_have_seen_nothing() {
    for polls in 0..=2 {
        let (tx, mut rx) = watch::channel(0);
        let mut changed = Task::new(rx.changed());
        for _ in 0..polls {
            assert!(changed.poll().is_pending());
        }
        tx.send(1).unwrap();
        assert_eq!(changed.woken(), polls > 0);
        drop(changed);
        assert!(rx.has_changed());

        let mut wait = Task::new(rx.wait_for(|&n| n == 2));
        for _ in 0..polls {
            assert!(wait.poll().is_pending());
        }
        drop(wait);
        assert!(rx.has_changed(), "what was refused does not count as seen");
        assert_eq!(tx.statistics().waiting, 0);
    }
}

#[test]
fn a_stream_gives_the_latest_and_ends() {
    let (tx, mut rx) = watch::channel(0);
    rx.mark_changed();
    let mut stream = Box::pin(rx.into_stream());
    assert_eq!(block_on(stream.next()).as_deref(), Some(&0));
    assert_eq!((tx.send(1), tx.send(2)), (Ok(()), Ok(())));
    assert_eq!(block_on(stream.next()).as_deref(), Some(&2));
    let mut next = Task::waiting(stream.next());
    drop(tx);
    assert!(next.woken());
    assert_eq!(next.poll(), Poll::Ready(None));
}

#[test]
fn a_value_is_dropped_when_it_is_replaced() {
    let (tx, rx) = watch::channel(Arc::new(1));
    let first = Arc::downgrade(&rx.borrow());
    tx.send(Arc::new(2)).unwrap();
    assert!(first.upgrade().is_none());
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Send,
    Changed(usize),
    Mark(usize),
    Update(usize),
    Clone(usize),
    Close,
}

const RECEIVERS: usize = 3;

fn op() -> impl Strategy<Value = Op> {
    let index = 0..RECEIVERS;
    prop_oneof![
        6 => Just(Op::Send),
        8 => index.clone().prop_map(Op::Changed),
        1 => index.clone().prop_map(Op::Mark),
        2 => index.clone().prop_map(Op::Update),
        2 => index.prop_map(Op::Clone),
        1 => Just(Op::Close),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 2 } else { 256 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_channel_does_what_the_model_does(
        ops in prop::collection::vec(op(), 1..if cfg!(miri) { 40 } else { 120 }),
    ) {
        let (tx, rx) = watch::channel(0);
        let mut receivers = [(); RECEIVERS].map(|()| (rx.clone(), true));
        let (mut value, mut closed) = (0, false);
        for op in ops {
            match op {
                Op::Send if closed => assert_eq!(tx.send(value), Err(SendError(value))),
                Op::Send => {
                    value += 1;
                    assert_eq!(tx.send(value), Ok(()));
                    receivers.iter_mut().for_each(|(_, seen)| *seen = false);
                }
                Op::Changed(index) => {
                    let (rx, seen) = &mut receivers[index];
                    let expected = match (std::mem::replace(seen, true), closed) {
                        (false, _) => Poll::Ready(Ok(())),
                        (true, true) => Poll::Ready(Err(RecvError::Closed)),
                        (true, false) => Poll::Pending,
                    };
                    assert_eq!(Task::new(rx.changed()).poll(), expected);
                }
                Op::Mark(index) => {
                    receivers[index].0.mark_changed();
                    receivers[index].1 = false;
                }
                Op::Update(index) => {
                    assert_eq!(*receivers[index].0.borrow_and_update(), value);
                    receivers[index].1 = true;
                }
                Op::Clone(index) => receivers[index] = (receivers[index].0.clone(), true),
                Op::Close => closed |= tx.close(),
            }
            for (rx, seen) in &receivers {
                assert_eq!((rx.has_changed(), *rx.borrow()), (!seen, value));
            }
        }
    }
}
