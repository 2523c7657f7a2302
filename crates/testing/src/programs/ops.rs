//! What coroutines do to a channel or a lock.

use proptest::collection::{SizeRange, vec};
use proptest::prelude::*;

use super::smaller::{Shrunk, Smaller};
use crate::drops::{DropAfter, When};

/// For how long an operation is awaited before it is dropped.
///
/// # Examples
///
/// ```
/// use corymb::sync::Mutex;
/// use corymb::testing::{TestRuntime, programs::Patience};
///
/// TestRuntime::new().run(async {
///     let lock = Mutex::new(1);
///     let guard = Patience::Polls(1).wait(lock.lock()).await.expect("it is free");
///     assert!(Patience::Polls(1).wait(lock.lock()).await.is_none());
///     drop(guard);
///     assert!(Patience::Endless.wait(lock.lock()).await.is_some());
/// });
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// Until it is done.
    Endless,
    /// Until it has been polled so often and is not done.
    Polls(u8),
    /// Until it has been polled so often and is woken once more: what came for it has to go
    /// elsewhere.
    Woken(u8),
}

impl Patience {
    /// Awaits `future` for that long; gives none if it was dropped.
    ///
    /// # Cancel safety
    ///
    /// That of `future`.
    pub async fn wait<F: Future>(self, future: F) -> Option<F::Output> {
        let (polls, when) = match self {
            Self::Endless => return Some(future.await),
            Self::Polls(polls) => (polls, When::Waiting),
            Self::Woken(polls) => (polls, When::Woken),
        };
        DropAfter { future: Some(Box::pin(future)), polls: polls.into(), when }.await
    }
}

/// What a coroutine does to its ends of a channel.
///
/// How many ends it has is known when it is run: it leaves out what it has no end for.
///
/// # Examples
///
/// A coroutine that does what a list says, to a channel of corymb:
///
/// ```
/// use corymb::sync::channel;
/// use corymb::testing::{TestRuntime, programs::ChannelOp};
/// use corymb::yield_now;
///
/// async fn run(
///     ops: Vec<ChannelOp>,
///     mut senders: Vec<channel::Sender<u32>>,
///     mut receivers: Vec<channel::Receiver<u32>>,
/// ) -> Vec<u32> {
///     let (mut next, mut received) = (0, Vec::new());
///     for op in ops {
///         match (op, senders.last(), receivers.last()) {
///             (ChannelOp::Yield, ..) => yield_now().await,
///             (ChannelOp::Send(patience), Some(sender), _) => {
///                 drop(patience.wait(sender.send(next)).await);
///                 next += 1;
///             }
///             (ChannelOp::Recv(patience), _, Some(receiver)) => {
///                 received.extend(patience.wait(receiver.recv()).await.and_then(Result::ok));
///             }
///             (ChannelOp::CloneSender, Some(sender), _) => senders.push(sender.clone()),
///             (ChannelOp::DropSender, ..) => drop(senders.pop()),
///             (ChannelOp::DropReceiver, ..) => drop(receivers.pop()),
///             _ => {}
///         }
///     }
///     received
/// }
///
/// use corymb::testing::programs::Patience::Endless;
/// let ops = vec![ChannelOp::Send(Endless), ChannelOp::Recv(Endless), ChannelOp::DropSender];
/// let received = TestRuntime::new().run(async {
///     let (sender, receiver) = channel::bounded(1);
///     run(ops, vec![sender], vec![receiver]).await
/// });
/// assert_eq!(received, [0]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChannelOp {
    /// Gives way to the others.
    Yield,
    /// Sends, and waits for room for so long.
    Send(Patience),
    /// Sends if there is room.
    TrySend,
    /// Receives, and waits for a value for so long.
    Recv(Patience),
    /// Receives if there is something.
    TryRecv,
    /// Clones its last sender.
    CloneSender,
    /// Drops its last sender.
    DropSender,
    /// Clones its last receiver.
    CloneReceiver,
    /// Drops its last receiver.
    DropReceiver,
    /// Closes the channel.
    Close,
}

/// What a coroutine does to a lock.
///
/// It may hold several guards at once only where the lock allows that to one coroutine: it leaves
/// out what would have it wait for itself.
///
/// # Examples
///
/// Coroutines that do what lists say, to a lock of corymb:
///
/// ```
/// use std::sync::Arc;
/// use corymb::{prelude::*, sync::Mutex};
/// use corymb::testing::{Explorer, Guide, programs::{LockOp, lists_of}};
/// use proptest::prelude::*;
///
/// async fn run(ops: Vec<LockOp>, lock: Arc<Mutex<u32>>) {
///     let mut held = None;
///     for op in ops {
///         match op {
///             LockOp::Lock(_, patience) if held.is_none() => {
///                 held = patience.wait(lock.lock()).await;
///             }
///             LockOp::TryLock(_) if held.is_none() => held = lock.try_lock(),
///             LockOp::Unlock => held = None,
///             _ => yield_now().await,
///         }
///     }
/// }
///
/// proptest!(ProptestConfig::with_cases(50), |(
///     lists in lists_of::<LockOp>(1..4, 0..10),
///     guide: Guide,
/// )| {
///     Explorer::new().guide(guide).run(|| {
///         let lists = lists.clone();
///         async {
///             let lock = Arc::new(Mutex::new(0));
///             scope(async |s| {
///                 for ops in lists {
///                     s.launch(run(ops, Arc::clone(&lock)));
///                 }
///             })
///             .await;
///             assert!(lock.try_lock().is_some());
///         }
///     });
/// });
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LockOp {
    /// Gives way to the others.
    Yield,
    /// Takes the lock, and waits for it for so long.
    Lock(Mode, Patience),
    /// Takes the lock if it is free.
    TryLock(Mode),
    /// Drops the guard that it took last.
    Unlock,
}

/// How a lock is taken, if there are several ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Alone.
    Exclusive,
    /// Beside others that share it.
    Shared,
}

/// Lists of operations, one for each of so many coroutines, and each of so many operations.
///
/// Smaller are those with fewer lists and operations, as far as the ranges allow, and plainer ones.
///
/// # Examples
///
/// ```
/// use corymb::testing::programs::{ChannelOp, lists_of};
/// use proptest::prelude::*;
///
/// proptest!(|(lists in lists_of::<ChannelOp>(1..4, 0..10))| {
///     assert!(lists.len() < 4 && lists.iter().all(|ops| ops.len() < 10));
/// });
/// ```
pub fn lists_of<T: Op>(
    coroutines: impl Into<SizeRange>,
    operations: impl Into<SizeRange>,
) -> impl Strategy<Value = Vec<Vec<T>>> {
    let (coroutines, operations) = (coroutines.into(), operations.into());
    let least = (coroutines.start(), operations.start());
    let lists = vec(vec(any::<T>(), operations), coroutines);
    Shrunk(lists.prop_map(move |lists| Lists { lists, least })).prop_map(|it| it.lists)
}

/// Lists, and how many there are to be at least, of how many operations each.
#[derive(Clone, Debug)]
struct Lists<T> {
    lists: Vec<Vec<T>>,
    least: (usize, usize),
}

impl<T: Smaller> Smaller for Lists<T> {
    fn smaller(&self) -> Vec<Self> {
        let (lists, operations) = self.least;
        let are_enough = |smaller: &Vec<Vec<T>>| {
            smaller.len() >= lists && smaller.iter().all(|list| list.len() >= operations)
        };
        let smaller = self.lists.smaller().into_iter().filter(are_enough);
        smaller.map(|lists| Self { lists, least: self.least }).collect()
    }
}

/// A [`ChannelOp`] or a [`LockOp`].
pub trait Op: Arbitrary + Smaller {}

impl Op for ChannelOp {}
impl Op for LockOp {}

impl Smaller for Patience {
    fn smaller(&self) -> Vec<Self> {
        let (plainer, polls, make): (_, _, fn(u8) -> Self) = match *self {
            Self::Endless => return Vec::new(),
            Self::Polls(polls) => (vec![Self::Endless], polls, Self::Polls),
            Self::Woken(polls) => (vec![Self::Endless, Self::Polls(polls)], polls, Self::Woken),
        };
        plainer.into_iter().chain(polls.smaller().into_iter().map(make)).collect()
    }
}

impl Smaller for ChannelOp {
    fn smaller(&self) -> Vec<Self> {
        match self {
            Self::Send(patience) => patience.smaller().into_iter().map(Self::Send).collect(),
            Self::Recv(patience) => patience.smaller().into_iter().map(Self::Recv).collect(),
            _ => Vec::new(),
        }
    }
}

impl Smaller for LockOp {
    fn smaller(&self) -> Vec<Self> {
        match *self {
            Self::Lock(mode, patience) => {
                patience.smaller().into_iter().map(|it| Self::Lock(mode, it)).collect()
            }
            _ => Vec::new(),
        }
    }
}

/// Implements `Arbitrary` by what is drawn, and how often; the plainest first.
macro_rules! arbitrary {
    ($($type:ident: $($weight:literal => $value:expr),*;)*) => {$(
        impl Arbitrary for $type {
            type Parameters = ();
            type Strategy = BoxedStrategy<Self>;

            fn arbitrary_with((): ()) -> Self::Strategy {
                prop_oneof![$($weight => $value),*].boxed()
            }
        }
    )*};
}

arbitrary! {
    Patience:
        4 => Just(Self::Endless),
        1 => (0..3u8).prop_map(Self::Polls),
        1 => (0..3u8).prop_map(Self::Woken);
    ChannelOp:
        2 => Just(Self::Yield),
        4 => any::<Patience>().prop_map(Self::Send),
        1 => Just(Self::TrySend),
        4 => any::<Patience>().prop_map(Self::Recv),
        1 => Just(Self::TryRecv),
        1 => Just(Self::CloneSender),
        1 => Just(Self::DropSender),
        1 => Just(Self::CloneReceiver),
        1 => Just(Self::DropReceiver),
        1 => Just(Self::Close);
    LockOp:
        2 => Just(Self::Yield),
        4 => any::<(Mode, Patience)>().prop_map(|(mode, patience)| Self::Lock(mode, patience)),
        1 => any::<Mode>().prop_map(Self::TryLock),
        3 => Just(Self::Unlock);
    Mode:
        1 => Just(Self::Exclusive),
        1 => Just(Self::Shared);
}
