//! A barrier that is known by its count: who is fast comes to the next round before who is slow has
//! seen the end of this one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use corymb::prelude::*;
use corymb::sync::{Mutex, Notify};

const PARTIES: usize = 3;

#[derive(Default)]
struct Naive {
    arrived: AtomicUsize,
    round: AtomicUsize,
    full: Notify,
}

impl Naive {
    async fn wait(&self, fixed: bool) {
        let round = self.round.load(SeqCst);
        if self.arrived.fetch_add(1, SeqCst) + 1 == PARTIES {
            self.arrived.store(0, SeqCst);
            self.round.store(round + 1, SeqCst);
            return self.full.notify_all();
        }
        let is_over = || match fixed {
            true => self.round.load(SeqCst) != round,
            false => self.arrived.load(SeqCst) == 0,
        };
        while !is_over() {
            self.full.notified().await;
        }
    }
}

pub(crate) async fn run(fixed: bool) {
    let (barrier, cells) = (Arc::new(Naive::default()), Arc::new(Mutex::new([0; PARTIES])));
    scope(async |s| {
        for n in 0..PARTIES {
            let (barrier, cells) = (Arc::clone(&barrier), Arc::clone(&cells));
            s.launch(async move {
                for _ in 0..3 {
                    cells.lock().await[n] += 1;
                    barrier.wait(fixed).await;
                }
            });
        }
    })
    .await;
}
