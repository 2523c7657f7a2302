//! Cells: one initialiser runs at a time, one comes to its end, and all get what it made, whoever
//! of them gives up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::Poll;

use corymb::{scope, yield_now};
use corymb_sync::OnceCell;
use futures::FutureExt;
use futures::future::BoxFuture;

use crate::ground::{Chance, TASKS, Tried, moved, poll_once, try_some};

const CELLS: usize = 60;

#[derive(Default)]
struct Made {
    cell: OnceCell<usize>,
    watch: Arc<Watch>,
}

/// What is seen of the initialisers of a cell.
#[derive(Default)]
struct Watch {
    runs: AtomicBool,
    ended: AtomicUsize,
}

/// An initialiser runs, until this is dropped.
struct Running<'a>(&'a Watch);

impl<'a> Running<'a> {
    fn new(watch: &'a Watch) -> Self {
        assert!(!watch.runs.swap(true, Ordering::Relaxed), "two run at once");
        Self(watch)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.runs.store(false, Ordering::Relaxed);
    }
}

pub(crate) fn round(chance: Chance) -> BoxFuture<'static, ()> {
    async move {
        let cells: Arc<[Made]> = (0..CELLS).map(|_| Made::default()).collect();
        scope(async |s| {
            for _ in 0..TASKS {
                s.launch(work(cells.clone(), chance.fork()));
            }
        })
        .await;
        for Made { cell, watch } in &*cells {
            assert_eq!(watch.ended.load(Ordering::Relaxed), 1, "initialisers that ended");
            assert_eq!(cell.statistics().waiting, 0);
        }
    }
    .boxed()
}

async fn work(cells: Arc<[Made]>, chance: Chance) {
    for made in &*cells {
        let value = get(made, &chance).await;
        moved();
        assert_eq!(made.cell.get(), Some(&value));
        assert_eq!(made.watch.ended.load(Ordering::Relaxed), 1);
    }
}

/// Makes `value`, or fails.
async fn make(watch: Arc<Watch>, yields: usize, value: Option<usize>) -> Result<usize, ()> {
    let _running = Running::new(&watch);
    for _ in 0..yields {
        yield_now().await;
    }
    watch.ended.fetch_add(usize::from(value.is_some()), Ordering::Relaxed);
    value.ok_or(())
}

/// Asks until there is a value.
async fn get(Made { cell, watch }: &Made, chance: &Chance) -> usize {
    // Where the initialiser belongs to the cell, a caller that is kept holds nobody up.
    let mut kept: Option<BoxFuture<'_, &usize>> = None;
    loop {
        let value = chance.below(1000);
        let make = |value| make(watch.clone(), chance.below(4), value);
        let init = make(Some(value)).map(|made| made.expect("it does not fail"));
        let got = match chance.below(3) {
            0 => try_some(chance, cell.get_or_init(init)).await.done(),
            1 => {
                let init = make(chance.one_in(2).then_some(value));
                try_some(chance, cell.get_or_try_init(init)).await.done().and_then(Result::ok)
            }
            _ => match try_some(chance, cell.get_or_init_shared(init)).await {
                Tried::Kept(future) => {
                    kept = Some(future);
                    None
                }
                tried => tried.done(),
            },
        };
        if let Some(&value) = got {
            return value;
        }
        if chance.one_in(3)
            && let Some(mut before) = kept.take()
            && let Poll::Ready(&value) = poll_once(before.as_mut()).await
        {
            return value;
        }
    }
}
