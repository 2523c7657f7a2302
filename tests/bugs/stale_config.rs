//! A key is looked up, and used when it is one's turn: it has been changed meanwhile.

use std::sync::Arc;

use corymb::prelude::*;
use corymb::sync::{Mutex, watch};

#[derive(Default)]
struct Journal {
    signed: Vec<u32>,
    revoked: Vec<u32>,
}

pub(crate) async fn run(fixed: bool) {
    let (keys, key) = watch::channel(0);
    let journal = Arc::new(Mutex::new(Journal::default()));
    scope(async |s| {
        for _ in 0..2 {
            let (key, journal) = (key.clone(), Arc::clone(&journal));
            s.launch(async move {
                for _ in 0..3 {
                    let early = key.borrow();
                    let mut journal = journal.lock().await;
                    let key = if fixed { key.borrow() } else { early };
                    assert!(!journal.revoked.contains(&key), "signed with a revoked key");
                    journal.signed.push(*key);
                }
            });
        }
        for new in 1..3 {
            let mut journal = journal.lock().await;
            journal.revoked.push(new - 1);
            keys.send(new).expect("it is open");
        }
    })
    .await;
}
