//! The first of several futures to end.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use corymb_core::internal::times_used_up;
use pin_project::pin_project;

/// The output of the first of `futures` to end; the others are dropped before it is given.
///
/// `futures` is a tuple of 2 to 12, an array or a `Vec`; what they give has one type. For bodies, for
/// outputs of several types, and for futures that go on, there is [`select!`](crate::select!); for
/// children, and for the first `Ok`, `corymb::join_scope`. For all of them instead of the first,
/// `join!`, `try_join!`, `join_all` and `FuturesUnordered` of the crate `futures` do as well here as
/// anywhere.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use corymb::prelude::*;
/// use corymb::race;
///
/// async fn ask(replica: u32) -> u32 {
///     sleep(Duration::from_millis(replica.into())).await;
///     replica
/// }
///
/// # corymb::testing::TestRuntime::new().run(async {
/// assert_eq!(race((ask(30), ask(10), async { ask(20).await + 1 })).await, 10);
/// assert_eq!(race([ask(2), ask(3)]).await, 2);
/// assert_eq!(race((4..9).map(ask).collect::<Vec<_>>()).await, 4);
/// # });
/// ```
///
/// # Panics
///
/// If an array or a `Vec` is empty: nothing would ever end. So does polling the future again after
/// it was done.
///
/// # Cancel safety
///
/// Each future that loses is dropped, and so are all if the race is: what is lost is what each of
/// them says.
///
/// # Fairness
///
/// None: they are polled in their order, and of those that are ready in one poll the first wins. So
/// put first what is to win a tie.
#[track_caller]
pub fn race<R: Racers>(futures: R) -> Race<R> {
    let entrants = futures.enter();
    let len = R::count(&entrants);
    assert!(len > 0, "`race` of no futures would never end: give it one, or ask before the call");
    Race { entrants: Some(entrants), len, gave_way: false }
}

/// The future of [`race`].
#[must_use = "futures do nothing unless polled"]
#[pin_project]
pub struct Race<R: Racers> {
    /// None when it is done.
    #[pin]
    entrants: Option<R::Entrants>,
    len: usize,
    /// The last poll ended with a future that had used up the budget.
    gave_way: bool,
}

impl<R: Racers> Future for Race<R> {
    type Output = R::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<R::Output> {
        let mut this = self.project();
        let patient = std::mem::take(this.gave_way);
        for n in 0..*this.len {
            let entrants = this.entrants.as_mut().as_pin_mut();
            let entrants = entrants.expect("a `Race` is not to be polled after it was done");
            let used_up = times_used_up();
            match R::poll_one(entrants, n, cx) {
                Poll::Ready(output) => {
                    this.entrants.set(None);
                    return Poll::Ready(output);
                }
                // As in `select!`.
                Poll::Pending if !patient && times_used_up() != used_up => {
                    *this.gave_way = true;
                    break;
                }
                Poll::Pending => {}
            }
        }
        Poll::Pending
    }
}

impl<R: Racers> fmt::Debug for Race<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Race").field("len", &self.len).finish_non_exhaustive()
    }
}

/// What can be given to [`race`]: tuples of 2 to 12 futures, arrays of them and `Vec`s.
///
/// It is implemented here and nowhere else.
pub trait Racers: sealed::Sealed {
    /// What each of them gives.
    type Output;
    /// The futures, where they can be pinned.
    #[doc(hidden)]
    type Entrants;

    #[doc(hidden)]
    fn enter(self) -> Self::Entrants;

    #[doc(hidden)]
    fn count(entrants: &Self::Entrants) -> usize;

    #[doc(hidden)]
    fn poll_one(
        entrants: Pin<&mut Self::Entrants>,
        n: usize,
        cx: &mut Context<'_>,
    ) -> Poll<Self::Output>;
}

mod sealed {
    pub trait Sealed {}
}

impl<F: Future, const N: usize> sealed::Sealed for [F; N] {}

impl<F: Future, const N: usize> Racers for [F; N] {
    type Output = F::Output;
    type Entrants = Self;

    fn enter(self) -> Self {
        self
    }

    fn count(_: &Self) -> usize {
        N
    }

    fn poll_one(entrants: Pin<&mut Self>, n: usize, cx: &mut Context<'_>) -> Poll<F::Output> {
        element(entrants, n).poll(cx)
    }
}

impl<F: Future> sealed::Sealed for Vec<F> {}

impl<F: Future> Racers for Vec<F> {
    type Output = F::Output;
    type Entrants = Pin<Box<[F]>>;

    fn enter(self) -> Self::Entrants {
        self.into_boxed_slice().into()
    }

    fn count(entrants: &Self::Entrants) -> usize {
        entrants.len()
    }

    fn poll_one(
        entrants: Pin<&mut Self::Entrants>,
        n: usize,
        cx: &mut Context<'_>,
    ) -> Poll<F::Output> {
        element(entrants.get_mut().as_mut(), n).poll(cx)
    }
}

/// The `n`th of what is pinned.
fn element<F>(all: Pin<&mut [F]>, n: usize) -> Pin<&mut F> {
    // SAFETY: elements of a slice do not move unless it does, nobody here moves one out, and they
    // are dropped where they are.
    unsafe { all.map_unchecked_mut(|all| &mut all[n]) }
}

macro_rules! tuples {
    ($($count:literal: $($n:tt $F:ident),*;)*) => { $(
        impl<T, $($F: Future<Output = T>),*> sealed::Sealed for ($($F,)*) {}

        impl<T, $($F: Future<Output = T>),*> Racers for ($($F,)*) {
            type Output = T;
            type Entrants = Self;

            fn enter(self) -> Self {
                self
            }

            fn count(_: &Self) -> usize {
                $count
            }

            fn poll_one(entrants: Pin<&mut Self>, n: usize, cx: &mut Context<'_>) -> Poll<T> {
                match n {
                    // SAFETY: as for an element of a slice.
                    $($n => unsafe { entrants.map_unchecked_mut(|all| &mut all.$n) }.poll(cx),)*
                    _ => unreachable!("a tuple of {} has no future {n}", $count),
                }
            }
        }
    )* };
}

tuples! {
    2: 0 A, 1 B;
    3: 0 A, 1 B, 2 C;
    4: 0 A, 1 B, 2 C, 3 D;
    5: 0 A, 1 B, 2 C, 3 D, 4 E;
    6: 0 A, 1 B, 2 C, 3 D, 4 E, 5 F;
    7: 0 A, 1 B, 2 C, 3 D, 4 E, 5 F, 6 G;
    8: 0 A, 1 B, 2 C, 3 D, 4 E, 5 F, 6 G, 7 H;
    9: 0 A, 1 B, 2 C, 3 D, 4 E, 5 F, 6 G, 7 H, 8 I;
    10: 0 A, 1 B, 2 C, 3 D, 4 E, 5 F, 6 G, 7 H, 8 I, 9 J;
    11: 0 A, 1 B, 2 C, 3 D, 4 E, 5 F, 6 G, 7 H, 8 I, 9 J, 10 K;
    12: 0 A, 1 B, 2 C, 3 D, 4 E, 5 F, 6 G, 7 H, 8 I, 9 J, 10 K, 11 L;
}
