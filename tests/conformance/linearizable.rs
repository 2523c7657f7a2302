//! What several coroutines do to a channel at once is what they would have done in some order, one
//! after the other.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use corymb::prelude::*;
use corymb::sync::channel::{Receiver, Sender, bounded, unbounded};
use corymb::sync::{RecvError, TryRecvError, TrySendError};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    Send,
    TrySend,
    Recv,
    TryRecv,
    Close,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Sent,
    Got(usize),
    Full,
    Empty,
    Closed,
    /// A close that was the first.
    Closes,
    /// The future was dropped while it waited.
    Cancelled,
}

/// One operation, with the value that it would send, and the times before and after it.
#[derive(Clone, Copy, Debug)]
struct Event {
    op: Op,
    value: usize,
    outcome: Outcome,
    begin: usize,
    end: usize,
}

/// The channel as it would be without concurrency. What a send that waits has left is with the rest:
/// who comes next sees no difference.
#[derive(Clone)]
struct Model {
    values: std::collections::VecDeque<usize>,
    capacity: usize,
    closed: bool,
}

impl Model {
    /// Whether `event` can come next.
    fn step(&mut self, event: &Event) -> bool {
        let is_full = self.values.len() >= self.capacity;
        match (event.op, event.outcome) {
            (Op::Send, Outcome::Sent) if !self.closed => self.values.push_back(event.value),
            (Op::TrySend, Outcome::Sent) if !self.closed && !is_full => {
                self.values.push_back(event.value);
            }
            (Op::TrySend, Outcome::Full) => return !self.closed && is_full,
            (Op::Send | Op::TrySend, Outcome::Closed) => return self.closed,
            (Op::Recv | Op::TryRecv, Outcome::Got(value)) => {
                return self.values.pop_front() == Some(value);
            }
            (Op::TryRecv, Outcome::Empty) => return !self.closed && self.values.is_empty(),
            (Op::Recv | Op::TryRecv, Outcome::Closed) => {
                return self.closed && self.values.is_empty();
            }
            (Op::Close, Outcome::Closes) => return !std::mem::replace(&mut self.closed, true),
            (Op::Close, Outcome::Closed) => return self.closed,
            // A send that is dropped has sent, or never was; a receive never was.
            (Op::Send | Op::Recv, Outcome::Cancelled) => {}
            _ => return false,
        }
        true
    }

    /// Whether there is an order of `events` that the model and the times allow.
    fn explains(&self, events: &[Event]) -> bool {
        let Some(first_end) = events.iter().map(|event| event.end).min() else { return true };
        events.iter().enumerate().filter(|(_, event)| event.begin < first_end).any(|(n, event)| {
            let mut rest = events.to_vec();
            rest.swap_remove(n);
            let mut next = self.clone();
            let as_it_says = next.step(event) && next.explains(&rest);
            as_it_says || self.explains_sent_by_cancelled(event, &rest)
        })
    }

    /// As [`explains`](Self::explains), if `event` is a send that was dropped after it had sent.
    fn explains_sent_by_cancelled(&self, event: &Event, rest: &[Event]) -> bool {
        let sent = Event { outcome: Outcome::Sent, ..*event };
        let mut next = self.clone();
        (event.op, event.outcome) == (Op::Send, Outcome::Cancelled)
            && next.step(&sent)
            && next.explains(rest)
    }
}

/// Polls `future` so often, and lets others run in between; then it is dropped.
async fn give_up<F: Future>(future: F, polls: usize) -> Option<F::Output> {
    let mut future = pin!(future);
    for _ in 0..polls {
        let polled = std::future::poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await;
        match polled {
            Poll::Ready(value) => return Some(value),
            Poll::Pending => yield_now().await,
        }
    }
    None
}

async fn perform(op: Op, value: usize, tx: &Sender<usize>, rx: &Receiver<usize>) -> Outcome {
    match op {
        Op::Send => match give_up(tx.send(value), 1 + value % 3).await {
            None => Outcome::Cancelled,
            Some(Ok(())) => Outcome::Sent,
            Some(Err(_)) => Outcome::Closed,
        },
        Op::TrySend => match tx.try_send(value) {
            Ok(()) => Outcome::Sent,
            Err(TrySendError::Full(_)) => Outcome::Full,
            Err(_) => Outcome::Closed,
        },
        Op::Recv => match give_up(rx.recv(), 1 + value % 3).await {
            None => Outcome::Cancelled,
            Some(Ok(value)) => Outcome::Got(value),
            Some(Err(RecvError::Closed | _)) => Outcome::Closed,
        },
        Op::TryRecv => match rx.try_recv() {
            Ok(value) => Outcome::Got(value),
            Err(TryRecvError::Empty) => Outcome::Empty,
            Err(_) => Outcome::Closed,
        },
        Op::Close if tx.close() => Outcome::Closes,
        Op::Close => Outcome::Closed,
    }
}

/// A sequence of operations, another one for each number.
fn program(number: usize) -> [Op; 3] {
    const OPS: [Op; 9] = [
        Op::Send,
        Op::Recv,
        Op::TrySend,
        Op::TryRecv,
        Op::Send,
        Op::Recv,
        Op::TrySend,
        Op::TryRecv,
        Op::Close,
    ];
    [1, OPS.len(), OPS.len() * OPS.len()].map(|unit| OPS[number / unit % OPS.len()])
}

#[corymb::test(real)]
async fn stress_033_operations_at_once_are_as_if_in_some_order() {
    for round in 0..1500_usize {
        let capacity = [1, 2, usize::MAX][round % 3];
        let (tx, rx) = if capacity == usize::MAX { unbounded() } else { bounded(capacity) };
        let clock = Arc::new(AtomicUsize::new(0));
        let events = scope(async |s| {
            let workers = [round * 7, round * 31 + 5, round * 101 + 11].map(program);
            let mut number = 0;
            let workers = workers.map(|ops| {
                number += 1;
                let (tx, rx, clock, first) = (tx.clone(), rx.clone(), clock.clone(), number * 3);
                s.spawn(async move {
                    let mut events = Vec::new();
                    for (op, value) in ops.into_iter().zip(first..) {
                        let begin = clock.fetch_add(1, Ordering::SeqCst);
                        let outcome = perform(op, value, &tx, &rx).await;
                        let end = clock.fetch_add(1, Ordering::SeqCst);
                        events.push(Event { op, value, outcome, begin, end });
                    }
                    events
                })
            });
            let mut events = Vec::new();
            for worker in workers {
                events.extend(worker.await);
            }
            events
        })
        .await;
        let model = Model { values: Default::default(), capacity, closed: false };
        assert!(model.explains(&events), "no order explains {events:#?}");
    }
}

#[test]
fn stress_033_what_no_order_explains_is_found() {
    let event = |op, value, outcome, begin, end| Event { op, value, outcome, begin, end };
    let model = Model { values: Default::default(), capacity: 1, closed: false };
    let sent = event(Op::Send, 1, Outcome::Sent, 0, 1);
    let got = event(Op::Recv, 0, Outcome::Got(1), 2, 3);
    assert!(model.explains(&[sent, got]));
    let got_before = event(Op::Recv, 0, Outcome::Got(1), 0, 1);
    let sent_after = event(Op::Send, 1, Outcome::Sent, 2, 3);
    assert!(!model.explains(&[got_before, sent_after]));
    let again = event(Op::TryRecv, 0, Outcome::Got(1), 4, 5);
    assert!(!model.explains(&[sent, got, again]), "twice");
    let lost = event(Op::TryRecv, 0, Outcome::Empty, 2, 3);
    assert!(!model.explains(&[sent, lost]));
    let cancelled = event(Op::Send, 2, Outcome::Cancelled, 0, 1);
    assert!(model.explains(&[cancelled, event(Op::Recv, 0, Outcome::Got(2), 2, 3)]));
    assert!(model.explains(&[cancelled, lost]));
}

/// The senders that wait are served in the order they came, and each cancel takes out its own.
#[test]
fn stress_033_suspended_senders_are_resumed_in_their_order() {
    let mut cx = Context::from_waker(Waker::noop());
    for gone in 0..4 {
        let (tx, rx) = bounded(1);
        tx.try_send(9).unwrap();
        let mut sends: Vec<Pin<Box<_>>> = (0..4).map(|n| Box::pin(tx.send(n))).collect();
        assert!(sends.iter_mut().all(|send| send.as_mut().poll(&mut cx).is_pending()));
        drop(sends.remove(gone));
        let got: Vec<_> = std::iter::from_fn(|| rx.try_recv().ok()).collect();
        let expected: Vec<_> = std::iter::once(9).chain((0..4).filter(|n| *n != gone)).collect();
        assert_eq!(got, expected);
        assert!(sends.iter_mut().all(|send| send.as_mut().poll(&mut cx) == Poll::Ready(Ok(()))));
    }
}
