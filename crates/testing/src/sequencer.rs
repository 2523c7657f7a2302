//! Points of several coroutines, in one order.

use std::collections::BTreeMap;
use std::fmt;
use std::future::poll_fn;
use std::panic::Location;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use corymb_core::internal::prim::Mutex;
use corymb_core::internal::{WaitKind, waiting_on};

/// Has points of several coroutines come one after the other, in the order of their numbers from 0.
///
/// Who comes to a point waits until those before it have been left; it is left when its guard is
/// dropped. So a test says which interleaving it is about, without sleeps.
///
/// Source: `trio.testing.Sequencer`.
///
/// # Examples
///
/// ```
/// use std::sync::mpsc;
/// use corymb::prelude::*;
/// use corymb::testing::{Sequencer, TestRuntime};
///
/// TestRuntime::new().run(scope(async |s| {
///     let (sequence, (tell, told)) = (Sequencer::new(), mpsc::channel());
///     let (first, tell_first) = (sequence.clone(), tell.clone());
///     s.launch(async move {
///         let _point = first.at(1).await;
///         tell_first.send("second").unwrap();
///     });
///     let point = sequence.at(0).await;
///     tell.send("first").unwrap();
///     drop(point);
///     let _last = sequence.at(2).await;
///     assert_eq!(told.try_iter().collect::<Vec<_>>(), ["first", "second"]);
/// }));
/// ```
#[derive(Clone, Default)]
pub struct Sequencer(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// The point whose turn it is.
    turn: usize,
    /// Those that somebody has come to, and who waits there.
    points: BTreeMap<usize, Option<Waker>>,
}

impl Sequencer {
    /// One whose turn is at point 0.
    pub fn new() -> Self {
        Self::default()
    }

    /// Waits for the turn of the point `number`, which lasts until the guard is dropped.
    ///
    /// # Panics
    ///
    /// Polling panics if somebody has come to that point before.
    ///
    /// # Cancel safety
    ///
    /// A wait that is dropped takes its point back: somebody else may come to it.
    #[track_caller]
    pub fn at(&self, number: usize) -> impl Future<Output = Point> + Send + use<> {
        let (sequencer, place) = (self.clone(), Location::caller());
        async move {
            let mut waiting = sequencer.come_to(number, place);
            poll_fn(|cx| waiting.poll(cx)).await;
            Point(sequencer, number)
        }
    }

    fn come_to(&self, number: usize, place: &'static Location<'static>) -> Waiting {
        let mut state = self.0.lock();
        let is_new = number >= state.turn && !state.points.contains_key(&number);
        assert!(
            is_new,
            "somebody has come to point {number} of the sequence before: give each one its own \
             ({place})"
        );
        state.points.insert(number, None);
        drop(state);
        Waiting { sequencer: self.clone(), number, place, is_turn: false }
    }
}

/// Who waits for its turn.
struct Waiting {
    sequencer: Sequencer,
    number: usize,
    place: &'static Location<'static>,
    is_turn: bool,
}

impl Waiting {
    fn poll(&mut self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.sequencer.0.lock();
        self.is_turn = state.turn == self.number;
        if self.is_turn {
            return Poll::Ready(());
        }
        let old = state.points.insert(self.number, Some(cx.waker().clone()));
        drop(state);
        drop(old);
        waiting_on(WaitKind::Lock, self.place);
        Poll::Pending
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if !self.is_turn {
            let old = self.sequencer.0.lock().points.remove(&self.number);
            drop(old);
        }
    }
}

/// The turn of a point of a [`Sequencer`], until it is dropped.
#[must_use = "dropped at once, it is the turn of the next"]
pub struct Point(Sequencer, usize);

impl Drop for Point {
    fn drop(&mut self) {
        let mut state = self.0.0.lock();
        state.points.remove(&self.1);
        state.turn += 1;
        let turn = state.turn;
        let next = state.points.get_mut(&turn).and_then(Option::take);
        drop(state);
        next.into_iter().for_each(Waker::wake);
    }
}

impl fmt::Debug for Sequencer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sequencer").field("turn", &self.0.lock().turn).finish_non_exhaustive()
    }
}

impl fmt::Debug for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Point").field(&self.1).finish()
    }
}
