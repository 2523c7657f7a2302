//! What a broadcast channel promises.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::thread;

use corymb_sync::SendError;
use corymb_sync::broadcast::{self, Lagged, Receiver, RecvError, Sender, TryRecvError};
use futures::StreamExt as _;
use futures::executor::block_on;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::common::Task;

#[test]
fn each_receiver_gets_each_value() {
    let (tx, mut one) = broadcast::channel(4);
    let mut other = tx.subscribe();
    assert_eq!((tx.send(1), tx.send(2)), (Ok(2), Ok(2)));
    assert_eq!((one.len(), other.len()), (2, 2));
    for rx in [&mut one, &mut other] {
        assert_eq!((rx.try_recv(), rx.try_recv()), (Ok(1), Ok(2)));
        assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
    }
    assert_eq!(tx.statistics().len, 0);
}

#[test]
fn channel_059_a_slow_receiver_is_told_how_many_it_lost() {
    let (tx, mut rx) = broadcast::channel(2);
    for n in [10, 20, 30] {
        tx.send(n).unwrap();
    }
    assert_eq!(block_on(rx.recv()), Err(RecvError::Lagged(Lagged(1))));
    assert_eq!((block_on(rx.recv()), block_on(rx.recv())), (Ok(20), Ok(30)));
    assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
}

#[test]
fn a_value_wakes_all_who_wait() {
    let (tx, rx) = broadcast::channel(2);
    let mut receivers: Vec<_> = (0..7).map(|_| rx.clone()).collect();
    let mut waiting: Vec<_> = receivers.iter_mut().map(|rx| Task::waiting(rx.recv())).collect();
    assert_eq!(tx.statistics().waiting, 7);
    assert_eq!(tx.send(5), Ok(8));
    for task in &mut waiting {
        assert_eq!(task.wakes(), 1);
        assert_eq!(task.poll(), Poll::Ready(Ok(5)));
    }
    assert_eq!((tx.statistics().waiting, tx.statistics().max_waiting), (0, 7));
}

#[test]
fn a_close_leaves_what_was_sent() {
    let (tx, mut rx) = broadcast::channel(2);
    let mut late = rx.clone();
    tx.send(1).unwrap();
    assert!(tx.close() && !tx.close() && rx.is_closed());
    assert_eq!(tx.send(2), Err(SendError(2)));
    assert_eq!(rx.try_recv(), Ok(1));
    assert_eq!(rx.try_recv(), Err(TryRecvError::Closed));
    drop(tx);
    assert_eq!(block_on(late.recv()), Ok(1));
    assert_eq!(block_on(late.recv()), Err(RecvError::Closed));
}

#[test]
fn the_last_sender_wakes_who_waits() {
    let (tx, mut rx) = broadcast::channel::<u32>(1);
    let other = tx.clone();
    let mut recv = Task::waiting(rx.recv());
    drop(tx);
    assert!(!recv.woken());
    drop(other);
    assert!(recv.woken());
    assert_eq!(recv.poll(), Poll::Ready(Err(RecvError::Closed)));
}

#[test]
fn a_stream_tells_of_losses_and_ends() {
    let (tx, rx) = broadcast::channel(2);
    let reader = thread::spawn(move || {
        let stream = rx.into_stream().filter_map(async |n| n.ok());
        block_on(stream.fold(0, async |_, n| n))
    });
    for n in 1..=100 {
        tx.send(n).unwrap();
    }
    drop(tx);
    assert_eq!(reader.join().unwrap(), 100);
}

/// Counts clones and drops, and looks at its channel in both: nobody could who has it locked.
struct Value {
    tx: Option<Sender<Self>>,
    count: Arc<[AtomicUsize; 2]>,
}

impl Value {
    fn look(&self, what: usize) {
        self.count[what].fetch_add(1, Ordering::SeqCst);
        if let Some(tx) = &self.tx {
            let _figures = tx.statistics();
        }
    }
}

impl Clone for Value {
    fn clone(&self) -> Self {
        self.look(0);
        Self { tx: None, count: Arc::clone(&self.count) }
    }
}

impl Drop for Value {
    fn drop(&mut self) {
        self.look(1);
    }
}

#[test]
fn values_are_cloned_and_dropped_without_the_lock_and_as_soon_as_can_be() {
    let count: Arc<[AtomicUsize; 2]> = Arc::default();
    let seen = || [0, 1].map(|what| count[what].load(Ordering::SeqCst));
    let (tx, mut one) = broadcast::channel(2);
    let send = || tx.send(Value { tx: Some(tx.clone()), count: Arc::clone(&count) });
    let mut other = tx.subscribe();
    assert_eq!(send().ok(), Some(2));
    drop(one.try_recv());
    assert_eq!(seen(), [1, 1], "the clone");
    drop(other.try_recv());
    assert_eq!(seen(), [1, 2], "the last gets the value itself");
    for _ in 0..3 {
        assert_eq!(send().ok(), Some(2));
    }
    assert_eq!(seen(), [1, 3], "one does not fit");
    drop(one);
    assert_eq!(seen(), [1, 3]);
    drop(other);
    assert_eq!(seen(), [1, 5]);
    assert_eq!(send().ok(), Some(0));
    assert_eq!(seen(), [1, 6]);
}

/// A value, and what is done when it is dropped.
struct Then(usize, Option<Box<dyn FnOnce() + Send + Sync>>);

impl Clone for Then {
    fn clone(&self) -> Self {
        Self(self.0, None)
    }
}

impl Drop for Then {
    fn drop(&mut self) {
        if let Some(then) = self.1.take() {
            then();
        }
    }
}

/// They go one by one: in between, another receives.
#[test]
fn values_that_go_with_a_receiver_are_given_to_no_other() {
    let (tx, slow) = broadcast::channel(3);
    let quick = Arc::new(Mutex::new(tx.subscribe()));
    let got = Arc::new(Mutex::new(None));
    let receive = {
        let (quick, got) = (quick.clone(), got.clone());
        move || *got.lock().unwrap() = quick.lock().unwrap().try_recv().ok()
    };
    for value in [Then(0, Some(Box::new(receive))), Then(1, None), Then(2, None)] {
        assert!(tx.send(value).is_ok());
    }
    for n in 0..2 {
        assert!(quick.lock().unwrap().try_recv().is_ok_and(|value| value.0 == n));
    }
    drop(slow);
    assert_eq!(got.lock().unwrap().as_ref().map(|value| value.0), Some(2));
}

#[test]
fn values_to_replay_go_with_the_last_sender() {
    let (tx, rx) = broadcast::with_replay(4, 2);
    let value = Arc::new(());
    for _ in 0..3 {
        tx.send(Arc::clone(&value)).unwrap();
    }
    drop(rx);
    assert_eq!(Arc::strong_count(&value), 3);
    let mut late = tx.subscribe();
    assert_eq!(late.len(), 2);
    drop(tx);
    assert!(late.try_recv().is_ok());
    assert_eq!(Arc::strong_count(&value), 2, "nobody can subscribe any more");
    drop(late);
    assert_eq!(Arc::strong_count(&value), 1);
}

#[test]
fn a_receive_dropped_at_any_poll_loses_nothing() {
    for polls in 0..=2 {
        let (tx, mut rx) = broadcast::channel(2);
        let mut recv = Task::new(rx.recv());
        for _ in 0..polls {
            assert!(recv.poll().is_pending());
        }
        tx.send(7).unwrap();
        assert_eq!(recv.woken(), polls > 0);
        drop(recv);
        assert_eq!(rx.try_recv(), Ok(7));
        assert_eq!(tx.statistics().waiting, 0);
    }
}

#[test]
#[should_panic(expected = "cannot replay 3")]
fn a_replay_beyond_the_capacity() {
    drop(broadcast::with_replay::<()>(2, 3));
}

#[test]
#[should_panic(expected = "would lose every value")]
fn a_capacity_of_zero() {
    drop(broadcast::channel::<()>(0));
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Send,
    TryRecv(Index),
    Recv(Index),
    Clone(Index),
    Drop(Index),
    Subscribe,
    Close,
}

fn op() -> impl Strategy<Value = Op> {
    let index = any::<Index>;
    prop_oneof![
        8 => Just(Op::Send),
        6 => index().prop_map(Op::TryRecv),
        6 => index().prop_map(Op::Recv),
        2 => index().prop_map(Op::Clone),
        2 => index().prop_map(Op::Drop),
        2 => Just(Op::Subscribe),
        1 => Just(Op::Close),
    ]
}

/// The channel, and what it should be: all values that were ever sent.
struct Model {
    tx: Sender<Arc<u64>>,
    receivers: Vec<(Receiver<Arc<u64>>, u64)>,
    values: Vec<Arc<u64>>,
    /// The number of the oldest value that did not have to go.
    oldest: u64,
    capacity: usize,
    replay: usize,
    closed: bool,
}

impl Model {
    fn sent(&self) -> u64 {
        self.values.len() as u64
    }

    fn expected(&mut self, index: usize) -> Result<u64, TryRecvError> {
        let (oldest, sent) = (self.oldest, self.sent());
        let next = &mut self.receivers[index].1;
        if *next < oldest {
            let lost = oldest - std::mem::replace(next, oldest);
            return Err(Lagged(lost).into());
        }
        if *next == sent {
            return Err(if self.closed { TryRecvError::Closed } else { TryRecvError::Empty });
        }
        *next += 1;
        Ok(*next - 1)
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Send => {
                let value = Arc::new(self.sent());
                let sent = self.tx.send(Arc::clone(&value));
                if self.closed {
                    assert!(sent.is_err());
                    return;
                }
                assert_eq!(sent, Ok(self.receivers.len()));
                self.values.push(value);
                self.oldest = self.oldest.max(self.sent().saturating_sub(self.capacity as u64));
            }
            Op::TryRecv(index) if !self.receivers.is_empty() => {
                let index = index.index(self.receivers.len());
                let expected = self.expected(index);
                assert_eq!(self.receivers[index].0.try_recv().map(|n| *n), expected);
            }
            Op::Recv(index) if !self.receivers.is_empty() => {
                let index = index.index(self.receivers.len());
                let expected = match self.expected(index) {
                    Err(TryRecvError::Empty) => Poll::Pending,
                    other => Poll::Ready(other),
                };
                let polled = Task::new(self.receivers[index].0.recv()).poll();
                assert_eq!(polled.map(|got| Ok(*got.map_err(TryRecvError::from)?)), expected);
            }
            Op::Clone(index) if !self.receivers.is_empty() => {
                let (rx, next) = &self.receivers[index.index(self.receivers.len())];
                let clone = (rx.clone(), *next);
                self.receivers.push(clone);
            }
            Op::Drop(index) if !self.receivers.is_empty() => {
                drop(self.receivers.remove(index.index(self.receivers.len())));
            }
            Op::Subscribe => {
                let next = self.oldest.max(self.sent().saturating_sub(self.replay as u64));
                // What was dropped because nobody needed it cannot be replayed: it is older.
                self.receivers.push((self.tx.subscribe(), next));
            }
            Op::Close => self.closed |= self.tx.close(),
            _ => {}
        }
    }

    /// Exactly the values are kept that somebody will get.
    fn check(&self) {
        let needed_from = |next: &u64| (*next).max(self.oldest);
        let first = self.receivers.iter().map(|(_, next)| needed_from(next)).min();
        let replayed = self.sent().saturating_sub(self.replay as u64);
        let first = first.unwrap_or(u64::MAX).min(replayed).max(self.oldest);
        for value in &self.values {
            let kept = Arc::strong_count(value) > 1;
            assert_eq!(kept, **value >= first, "of {value}");
        }
        for (rx, next) in &self.receivers {
            assert_eq!(rx.len() as u64, self.sent() - needed_from(next));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 2 } else { 256 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_channel_does_what_the_model_does(
        (capacity, replay) in (1_usize..5).prop_flat_map(|capacity| (Just(capacity), 0..=capacity)),
        ops in prop::collection::vec(op(), 1..if cfg!(miri) { 40 } else { 120 }),
    ) {
        let (tx, rx) = broadcast::with_replay(capacity, replay);
        let mut model = Model {
            tx,
            receivers: vec![(rx, 0)],
            values: Vec::new(),
            oldest: 0,
            capacity,
            replay,
            closed: false,
        };
        for op in ops {
            model.apply(op);
            model.check();
        }
    }
}
