//! Sequences of operations against a sequential model of the channel.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::Poll;

use corymb_sync::channel::{Overflow, OwnedPermit, Receiver, Sender, WeakSender, with_overflow};
use corymb_sync::{RecvError, SendError, TryRecvError, TrySendError};
use proptest::prelude::*;
use proptest::sample::Index;

use crate::common::Task;

#[derive(Clone, Copy, Debug)]
enum Op {
    TrySend,
    TryReserve,
    TryRecv,
    /// Polled once.
    Send,
    Reserve,
    Recv,
    RecvMany(usize),
    /// Of those that wait.
    PollSend(Index),
    PollRecv(Index),
    CancelSend(Index),
    CancelRecv(Index),
    UsePermit(Index),
    DropPermit(Index),
    CloneSender,
    CloneReceiver,
    Upgrade,
    DropSender,
    DropReceiver,
    Close,
}

fn op() -> impl Strategy<Value = Op> {
    let index = any::<Index>;
    prop_oneof![
        4 => Just(Op::TrySend),
        2 => Just(Op::TryReserve),
        4 => Just(Op::TryRecv),
        8 => Just(Op::Send),
        4 => Just(Op::Reserve),
        8 => Just(Op::Recv),
        4 => (1_usize..4).prop_map(Op::RecvMany),
        6 => index().prop_map(Op::PollSend),
        6 => index().prop_map(Op::PollRecv),
        3 => index().prop_map(Op::CancelSend),
        3 => index().prop_map(Op::CancelRecv),
        4 => index().prop_map(Op::UsePermit),
        2 => index().prop_map(Op::DropPermit),
        1 => Just(Op::CloneSender),
        1 => Just(Op::CloneReceiver),
        1 => Just(Op::Upgrade),
        1 => Just(Op::DropSender),
        1 => Just(Op::DropReceiver),
        1 => Just(Op::Close),
    ]
}

fn kind() -> impl Strategy<Value = (usize, Overflow)> {
    let suspend = prop_oneof![2 => Just(0), 4 => 1_usize..=4, 1 => Just(usize::MAX)];
    let dropping = prop_oneof![Just(Overflow::DropOldest), Just(Overflow::DropLatest)];
    prop_oneof![
        2 => suspend.prop_map(|capacity| (capacity, Overflow::Suspend)),
        1 => (1_usize..=4, dropping),
    ]
}

/// The permit of a reservation; none of a send.
type Sending = Pin<Box<dyn Future<Output = Result<Option<OwnedPermit<u32>>, SendError<u32>>>>>;
type Receiving = Pin<Box<dyn Future<Output = Result<Vec<u32>, RecvError>>>>;

/// A send or a reservation that waits.
struct Wait {
    id: u32,
    is_place: bool,
    outcome: Outcome,
    task: Task<Sending>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Open,
    Ok,
    Refused,
}

/// What is in the queue: the value of a send is its `id`.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Claim {
    id: u32,
    is_place: bool,
}

/// The channel, and what it should be. Waiting operations hold a handle of their own.
struct Model {
    senders: Vec<Sender<u32>>,
    weak: WeakSender<u32>,
    receivers: Vec<Receiver<u32>>,
    sending: Vec<Wait>,
    receiving: Vec<(usize, Task<Receiving>)>,
    permits: Vec<OwnedPermit<u32>>,
    /// A receive has ended, and its handle is there.
    done: bool,

    capacity: usize,
    overflow: Overflow,
    ring: VecDeque<u32>,
    queue: VecDeque<Claim>,
    reserved: usize,
    dropped: u64,
    closed: bool,
    next: u32,
}

impl Model {
    fn new((capacity, overflow): (usize, Overflow)) -> Self {
        let (tx, rx) = with_overflow(capacity, overflow);
        Self {
            weak: tx.downgrade(),
            senders: vec![tx],
            receivers: vec![rx],
            sending: Vec::new(),
            receiving: Vec::new(),
            permits: Vec::new(),
            done: false,
            capacity,
            overflow,
            ring: VecDeque::new(),
            queue: VecDeque::new(),
            reserved: 0,
            dropped: 0,
            closed: false,
            next: 0,
        }
    }

    fn id(&mut self) -> u32 {
        self.next += 1;
        self.next
    }

    fn sender_count(&self) -> usize {
        self.senders.len() + self.sending.len() + self.permits.len()
    }

    fn receiver_count(&self) -> usize {
        self.receivers.len() + self.receiving.len() + usize::from(self.done)
    }

    fn has_place(&self) -> bool {
        let places = if self.capacity == 0 { self.receiving.len() } else { self.capacity };
        self.overflow != Overflow::Suspend || self.ring.len() + self.reserved < places
    }

    fn is_final(&self) -> bool {
        self.closed && self.reserved == 0 && self.queue.is_empty()
    }

    fn put(&mut self, value: u32) {
        if self.overflow == Overflow::Suspend || self.ring.len() < self.capacity {
            self.ring.push_back(value);
            return;
        }
        self.dropped += 1;
        if self.overflow == Overflow::DropOldest {
            self.ring.pop_front();
            self.ring.push_back(value);
        }
    }

    /// What receiving up to `limit` gives at present.
    fn take(&mut self, limit: usize) -> Poll<Result<Vec<u32>, RecvError>> {
        let mut taken: Vec<_> = self.ring.drain(..limit.min(self.ring.len())).collect();
        if taken.is_empty()
            && self.capacity == 0
            && let Some(&Claim { id, is_place: false }) = self.queue.front()
        {
            self.resolve(Outcome::Ok);
            taken.push(id);
        }
        match taken.is_empty() {
            false => Poll::Ready(Ok(taken)),
            true if self.is_final() => Poll::Ready(Err(RecvError::Closed)),
            true => Poll::Pending,
        }
    }

    /// Ends the wait of the first in the queue.
    fn resolve(&mut self, outcome: Outcome) {
        let claim = self.queue.pop_front().expect("somebody waits");
        self.end(claim, outcome);
    }

    fn end(&mut self, claim: Claim, outcome: Outcome) {
        let wait = self.sending.iter_mut().find(|wait| wait.id == claim.id);
        wait.expect("it waits").outcome = outcome;
    }

    /// Serves the queue, and closes what handles that went have closed.
    fn settle(&mut self) {
        self.closed |= self.sender_count() == 0;
        if self.receiver_count() == 0 {
            self.closed = true;
            self.ring.clear();
        }
        if self.closed {
            let (refused, left): (Vec<Claim>, _) =
                self.queue.iter().partition(|claim| claim.is_place);
            self.queue = left.into();
            for claim in refused {
                self.end(claim, Outcome::Refused);
            }
        }
        while let Some(&Claim { id, is_place }) = self.queue.front() {
            if self.receiver_count() == 0 {
                self.resolve(Outcome::Refused);
            } else if !self.has_place() {
                return;
            } else {
                self.resolve(Outcome::Ok);
                match is_place {
                    true => self.reserved += 1,
                    false => self.put(id),
                }
            }
        }
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::TrySend | Op::TryReserve => self.try_send(matches!(op, Op::TryReserve)),
            Op::Send | Op::Reserve => self.send(matches!(op, Op::Reserve)),
            Op::TryRecv => {
                let Some(rx) = self.receivers.first().cloned() else { return };
                let expected = match self.take(1) {
                    Poll::Ready(Ok(got)) => Ok(got[0]),
                    Poll::Ready(Err(_)) => Err(TryRecvError::Closed),
                    Poll::Pending => Err(TryRecvError::Empty),
                };
                assert_eq!(rx.try_recv(), expected);
            }
            Op::Recv => {
                let Some(rx) = self.receivers.first().cloned() else { return };
                self.recv(1, Box::pin(async move { Ok(vec![rx.recv().await?]) }));
            }
            Op::RecvMany(limit) => {
                let Some(rx) = self.receivers.first().cloned() else { return };
                let recv = async move {
                    let mut got = Vec::new();
                    let count = rx.recv_many(&mut got, limit).await?;
                    assert_eq!(got.len(), count);
                    Ok(got)
                };
                self.recv(limit, Box::pin(recv));
            }
            Op::PollSend(_) | Op::PollRecv(_) => self.poll(op),
            Op::CancelSend(_) | Op::CancelRecv(_) => self.cancel(op),
            Op::UsePermit(_) | Op::DropPermit(_) => self.permit(op),
            _ => self.handles(op),
        }
    }

    fn try_send(&mut self, reserves: bool) {
        let id = self.id();
        let Some(tx) = self.senders.first().cloned() else { return };
        let expected = match self.closed {
            true => Err(TrySendError::Closed(id)),
            false if !self.has_place() => Err(TrySendError::Full(id)),
            false => Ok(()),
        };
        if !reserves {
            assert_eq!(tx.try_send(id), expected);
            if expected.is_ok() {
                self.put(id);
            }
            return;
        }
        match tx.try_reserve_owned() {
            Ok(permit) => {
                assert_eq!(expected, Ok(()));
                self.reserved += 1;
                self.permits.push(permit);
            }
            Err(TrySendError::Full(_)) => assert_eq!(expected, Err(TrySendError::Full(id))),
            Err(_) => assert_eq!(expected, Err(TrySendError::Closed(id))),
        }
    }

    fn send(&mut self, is_place: bool) {
        let id = self.id();
        let Some(tx) = self.senders.first().cloned() else { return };
        let future: Sending =
            match is_place {
                true => Box::pin(async move {
                    tx.reserve_owned().await.map(Some).map_err(|_| SendError(id))
                }),
                false => Box::pin(async move { tx.send(id).await.map(|()| None) }),
            };
        let mut wait = Wait { id, is_place, outcome: Outcome::Open, task: Task::new(future) };
        if self.closed {
            wait.outcome = Outcome::Refused;
        } else if self.has_place() {
            wait.outcome = Outcome::Ok;
            match is_place {
                true => self.reserved += 1,
                false => self.put(id),
            }
        } else {
            self.queue.push_back(Claim { id, is_place });
        }
        self.poll_wait(wait);
    }

    fn poll_wait(&mut self, mut wait: Wait) {
        match wait.task.poll() {
            Poll::Pending => {
                assert!(wait.outcome == Outcome::Open, "{} waits in vain", wait.id);
                self.sending.push(wait);
            }
            Poll::Ready(Ok(permit)) => {
                assert!(wait.outcome == Outcome::Ok, "{} came too early", wait.id);
                self.permits.extend(permit);
            }
            Poll::Ready(Err(SendError(id))) => {
                assert!(wait.outcome == Outcome::Refused, "{} was refused", wait.id);
                assert_eq!(id, wait.id);
            }
        }
    }

    fn recv(&mut self, limit: usize, future: Receiving) {
        let mut recv = Task::new(future);
        let expected = self.take(limit);
        assert_eq!(recv.poll(), expected);
        if expected.is_pending() {
            self.receiving.push((limit, recv));
        }
    }

    fn poll(&mut self, op: Op) {
        match op {
            Op::PollSend(index) if !self.sending.is_empty() => {
                let wait = self.sending.remove(index.index(self.sending.len()));
                self.poll_wait(wait);
            }
            Op::PollRecv(index) if !self.receiving.is_empty() => {
                let index = index.index(self.receiving.len());
                let (limit, mut recv) = self.receiving.remove(index);
                let expected = self.take(limit);
                assert_eq!(recv.poll(), expected);
                if expected.is_pending() {
                    self.receiving.insert(index, (limit, recv));
                    return;
                }
                // Its handle goes when what it received has made room.
                self.done = true;
                self.settle();
                self.done = false;
            }
            _ => {}
        }
    }

    fn cancel(&mut self, op: Op) {
        match op {
            Op::CancelSend(index) if !self.sending.is_empty() => {
                let wait = self.sending.remove(index.index(self.sending.len()));
                drop(wait.task);
                self.queue.retain(|claim| claim.id != wait.id);
                self.reserved -= usize::from(wait.is_place && wait.outcome == Outcome::Ok);
            }
            Op::CancelRecv(index) if !self.receiving.is_empty() => {
                drop(self.receiving.remove(index.index(self.receiving.len())));
            }
            _ => {}
        }
    }

    fn permit(&mut self, op: Op) {
        let (Op::UsePermit(index) | Op::DropPermit(index)) = op else { return };
        if self.permits.is_empty() {
            return;
        }
        let permit = self.permits.remove(index.index(self.permits.len()));
        self.reserved -= 1;
        if matches!(op, Op::DropPermit(_)) {
            return drop(permit);
        }
        let value = self.id();
        let sent = permit.send(value);
        assert_eq!(sent.is_ok(), self.receiver_count() > 0);
        if sent.is_ok() {
            self.put(value);
        }
    }

    fn handles(&mut self, op: Op) {
        match op {
            Op::CloneSender => self.senders.extend(self.senders.first().cloned()),
            Op::CloneReceiver => self.receivers.extend(self.receivers.first().cloned()),
            Op::Upgrade => {
                let upgraded = self.weak.upgrade();
                assert_eq!(upgraded.is_some(), self.sender_count() > 0);
                self.senders.extend(upgraded);
            }
            Op::DropSender => drop(self.senders.pop()),
            Op::DropReceiver => drop(self.receivers.pop()),
            Op::Close => {
                let was_open = match (self.senders.first(), self.receivers.first()) {
                    (Some(tx), _) if self.next.is_multiple_of(2) => tx.close(),
                    (_, Some(rx)) => rx.close(),
                    (Some(tx), None) => tx.close(),
                    (None, None) => return,
                };
                assert_eq!(was_open, !self.closed);
                self.closed = true;
            }
            _ => {}
        }
    }

    fn check(&mut self) {
        self.settle();
        let seen = match (self.senders.first(), self.receivers.first()) {
            (Some(tx), _) => Some((tx.statistics(), tx.is_closed())),
            (None, Some(rx)) => Some((rx.statistics(), rx.is_closed())),
            (None, None) => None,
        };
        if let Some((now, closed)) = seen {
            assert_eq!((now.len, closed), (self.ring.len(), self.closed));
            assert_eq!((now.capacity, now.reserved), (self.capacity, self.reserved));
            assert_eq!((now.dropped, now.waiting_senders), (self.dropped, self.queue.len()));
            let handles = (self.sender_count(), self.receiver_count());
            assert_eq!((now.senders, now.receivers), handles);
        }
        let ready = if self.is_final() { usize::MAX } else { self.ring.len() };
        let woken = self.receiving.iter().filter(|(_, task)| task.woken()).count();
        assert!(woken >= ready.min(self.receiving.len()), "a receiver sleeps beside an element");
        for wait in &self.sending {
            assert_eq!(wait.task.woken(), wait.outcome != Outcome::Open, "of {}", wait.id);
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
        kind in kind(),
        ops in prop::collection::vec(op(), 1..if cfg!(miri) { 40 } else { 120 }),
    ) {
        let mut model = Model::new(kind);
        for op in ops {
            model.apply(op);
            model.check();
        }
    }
}
