//! A free list whose head is compared and swapped: in the meantime it was taken off, the one behind
//! it too, and put back.

use std::sync::Arc;

use corymb::prelude::*;
use corymb::sync::Mutex;

const SLOTS: usize = 3;

struct Slab {
    /// The first free slot, and how often it has changed.
    head: Mutex<(Option<usize>, u32)>,
    next: Mutex<[Option<usize>; SLOTS]>,
    taken: Mutex<[bool; SLOTS]>,
}

impl Slab {
    fn new() -> Self {
        Self {
            head: Mutex::new((Some(0), 0)),
            next: Mutex::new([Some(1), Some(2), None]),
            taken: Mutex::new([false; SLOTS]),
        }
    }

    async fn take(&self, fixed: bool) -> Option<usize> {
        loop {
            let head = *self.head.lock().await;
            let slot = head.0?;
            let next = self.next.lock().await[slot];
            if self.swap(head, next, fixed).await {
                let was_taken = std::mem::replace(&mut self.taken.lock().await[slot], true);
                assert!(!was_taken, "slot {slot} was handed out twice");
                return Some(slot);
            }
        }
    }

    async fn put(&self, slot: usize, fixed: bool) {
        self.taken.lock().await[slot] = false;
        loop {
            let head = *self.head.lock().await;
            self.next.lock().await[slot] = head.0;
            if self.swap(head, Some(slot), fixed).await {
                return;
            }
        }
    }

    async fn swap(&self, old: (Option<usize>, u32), new: Option<usize>, fixed: bool) -> bool {
        let mut head = self.head.lock().await;
        let is_same = if fixed { *head == old } else { head.0 == old.0 };
        if is_same {
            *head = (new, head.1 + 1);
        }
        is_same
    }
}

pub(crate) async fn run(fixed: bool) {
    let slab = Arc::new(Slab::new());
    scope(async |s| {
        for _ in 0..2 {
            let slab = Arc::clone(&slab);
            s.launch(async move {
                let (a, b) = (slab.take(fixed).await, slab.take(fixed).await);
                for slot in [a, b].into_iter().flatten() {
                    slab.put(slot, fixed).await;
                }
                slab.take(fixed).await;
            });
        }
    })
    .await;
}
