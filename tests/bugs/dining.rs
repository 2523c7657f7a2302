//! The philosophers: each takes the fork to the left, then the one to the right.

use std::sync::Arc;

use corymb::prelude::*;
use corymb::sync::Mutex;

const SEATS: usize = 3;

pub(crate) async fn run(fixed: bool) {
    let forks: Arc<[Mutex<u32>; SEATS]> = Arc::default();
    scope(async |s| {
        for seat in 0..SEATS {
            let forks = Arc::clone(&forks);
            let (first, second) = match (seat, (seat + 1) % SEATS) {
                (left, right) if fixed && right < left => (right, left),
                both => both,
            };
            s.launch(async move {
                for _ in 0..2 {
                    let mut one = forks[first].lock().await;
                    *forks[second].lock().await += 1;
                    *one += 1;
                }
            });
        }
    })
    .await;
    assert_eq!(*forks[0].lock().await, 4);
}
