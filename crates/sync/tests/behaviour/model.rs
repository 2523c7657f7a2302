//! Sequences of operations against a sequential model of the channel.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::Poll;

use corymb_sync::channel::{Receiver, Sender, bounded};
use corymb_sync::{RecvError, SendError, TryRecvError, TrySendError};
use proptest::prelude::*;

use crate::common::Task;

#[derive(Clone, Copy, Debug)]
enum Op {
    TrySend,
    TryRecv,
    /// A send, or a receive, polled once.
    Send,
    Recv,
    /// Polls, or drops, one of those that wait.
    PollSend(prop::sample::Index),
    PollRecv(prop::sample::Index),
    CancelSend(prop::sample::Index),
    CancelRecv(prop::sample::Index),
    CloneSender,
    CloneReceiver,
    DropSender,
    DropReceiver,
    Close,
}

fn op() -> impl Strategy<Value = Op> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        4 => Just(Op::TrySend),
        4 => Just(Op::TryRecv),
        8 => Just(Op::Send),
        8 => Just(Op::Recv),
        6 => index().prop_map(Op::PollSend),
        6 => index().prop_map(Op::PollRecv),
        3 => index().prop_map(Op::CancelSend),
        3 => index().prop_map(Op::CancelRecv),
        1 => Just(Op::CloneSender),
        1 => Just(Op::CloneReceiver),
        1 => Just(Op::DropSender),
        1 => Just(Op::DropReceiver),
        1 => Just(Op::Close),
    ]
}

type Sending = Pin<Box<dyn Future<Output = Result<(), SendError<u32>>>>>;
type Receiving = Pin<Box<dyn Future<Output = Result<u32, RecvError>>>>;

/// The channel, and what it should be. Waiting operations hold a handle of their own.
struct Model {
    senders: Vec<Sender<u32>>,
    receivers: Vec<Receiver<u32>>,
    sending: Vec<(u32, Task<Sending>)>,
    receiving: Vec<Task<Receiving>>,

    capacity: usize,
    ring: VecDeque<u32>,
    /// Values of senders that wait, in order.
    queue: VecDeque<u32>,
    closed: bool,
    next: u32,
}

impl Model {
    fn new(capacity: usize) -> Self {
        let (tx, rx) = bounded(capacity);
        Self {
            senders: vec![tx],
            receivers: vec![rx],
            sending: Vec::new(),
            receiving: Vec::new(),
            capacity,
            ring: VecDeque::new(),
            queue: VecDeque::new(),
            closed: false,
            next: 0,
        }
    }

    fn value(&mut self) -> u32 {
        self.next += 1;
        self.next
    }

    /// What a receive gives at present.
    fn take(&mut self) -> Option<u32> {
        let value = self.ring.pop_front()?;
        self.ring.extend(self.queue.pop_front());
        Some(value)
    }

    fn recv_expected(&mut self) -> Poll<Result<u32, RecvError>> {
        match self.take() {
            Some(value) => Poll::Ready(Ok(value)),
            None if self.closed => Poll::Ready(Err(RecvError::Closed)),
            None => Poll::Pending,
        }
    }

    fn has_receivers(&self) -> bool {
        !self.receivers.is_empty() || !self.receiving.is_empty()
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::TrySend => {
                let value = self.value();
                let Some(tx) = self.senders.first() else { return };
                let expected = if self.closed {
                    Err(TrySendError::Closed(value))
                } else if self.ring.len() == self.capacity {
                    Err(TrySendError::Full(value))
                } else {
                    self.ring.push_back(value);
                    Ok(())
                };
                assert_eq!(tx.try_send(value), expected);
            }
            Op::TryRecv => {
                let Some(rx) = self.receivers.first().cloned() else { return };
                let expected = match self.recv_expected() {
                    Poll::Ready(got) => got.map_err(|_| TryRecvError::Closed),
                    Poll::Pending => Err(TryRecvError::Empty),
                };
                assert_eq!(rx.try_recv(), expected);
            }
            Op::Send => {
                let value = self.value();
                let Some(tx) = self.senders.first().cloned() else { return };
                let mut send: Task<Sending> =
                    Task::new(Box::pin(async move { tx.send(value).await }));
                if self.closed {
                    assert_eq!(send.poll(), Poll::Ready(Err(SendError(value))));
                } else if self.ring.len() < self.capacity {
                    self.ring.push_back(value);
                    assert_eq!(send.poll(), Poll::Ready(Ok(())));
                } else {
                    assert!(send.poll().is_pending());
                    self.queue.push_back(value);
                    self.sending.push((value, send));
                }
            }
            Op::Recv => {
                let Some(rx) = self.receivers.first().cloned() else { return };
                let mut recv: Task<Receiving> = Task::new(Box::pin(async move { rx.recv().await }));
                let expected = self.recv_expected();
                assert_eq!(recv.poll(), expected);
                if expected.is_pending() {
                    self.receiving.push(recv);
                }
            }
            Op::PollSend(_) | Op::PollRecv(_) => self.poll(op),
            Op::CancelSend(_) | Op::CancelRecv(_) => self.cancel(op),
            Op::CloneSender => self.senders.extend(self.senders.first().cloned()),
            Op::CloneReceiver => self.receivers.extend(self.receivers.first().cloned()),
            Op::DropSender => drop(self.senders.pop()),
            Op::DropReceiver => drop(self.receivers.pop()),
            Op::Close => {
                match (self.senders.first(), self.receivers.first()) {
                    (Some(tx), _) if self.next.is_multiple_of(2) => tx.close(),
                    (_, Some(rx)) => rx.close(),
                    (Some(tx), None) => tx.close(),
                    (None, None) => return,
                }
                self.closed = true;
            }
        }
    }

    fn poll(&mut self, op: Op) {
        match op {
            Op::PollSend(index) if !self.sending.is_empty() => {
                let index = index.index(self.sending.len());
                let has_receivers = self.has_receivers();
                let (value, send) = &mut self.sending[index];
                let expected = match self.queue.iter().position(|queued| queued == value) {
                    None => Poll::Ready(Ok(())),
                    Some(place) if !has_receivers => {
                        self.queue.remove(place);
                        Poll::Ready(Err(SendError(*value)))
                    }
                    Some(_) => Poll::Pending,
                };
                assert_eq!(send.poll(), expected);
                if expected.is_ready() {
                    drop(self.sending.remove(index));
                }
            }
            Op::PollRecv(index) if !self.receiving.is_empty() => {
                let index = index.index(self.receiving.len());
                let expected = self.recv_expected();
                assert_eq!(self.receiving[index].poll(), expected);
                if expected.is_ready() {
                    drop(self.receiving.remove(index));
                }
            }
            _ => {}
        }
    }

    fn cancel(&mut self, op: Op) {
        match op {
            Op::CancelSend(index) if !self.sending.is_empty() => {
                let (value, send) = self.sending.remove(index.index(self.sending.len()));
                drop(send);
                self.queue.retain(|&queued| queued != value);
            }
            Op::CancelRecv(index) if !self.receiving.is_empty() => {
                drop(self.receiving.remove(index.index(self.receiving.len())));
            }
            _ => {}
        }
    }

    /// Handles that went may have closed the channel; then everything is compared.
    fn check(&mut self) {
        if self.senders.is_empty() && self.sending.is_empty() {
            self.closed = true;
        }
        if !self.has_receivers() {
            self.closed = true;
            self.ring.clear();
        }
        if let Some(rx) = self.receivers.first() {
            assert_eq!((rx.len(), rx.is_closed()), (self.ring.len(), self.closed));
        }
        if let Some(tx) = self.senders.first() {
            assert_eq!((tx.len(), tx.is_closed()), (self.ring.len(), self.closed));
        }
        let ready_receivers =
            if self.closed { usize::MAX } else { self.ring.len() }.min(self.receiving.len());
        let woken = self.receiving.iter().filter(|task| task.woken()).count();
        assert!(woken >= ready_receivers, "a receiver sleeps beside an element");
        for (value, send) in &self.sending {
            let done = !self.queue.contains(value) || !self.has_receivers();
            assert_eq!(send.woken(), done, "of the sender of {value}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 8 } else { 256 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_channel_does_what_the_model_does(
        capacity in 1_usize..4,
        ops in prop::collection::vec(op(), 1..if cfg!(miri) { 40 } else { 120 }),
    ) {
        let mut model = Model::new(capacity);
        for op in ops {
            model.apply(op);
            model.check();
        }
    }
}
