//! A check, and then a wait for a signal that keeps nothing: what comes between is missed.

use std::collections::VecDeque;
use std::sync::Arc;

use corymb::prelude::*;
use corymb::sync::{Mutex, Notify};

#[derive(Default)]
struct Mailbox {
    letters: Mutex<VecDeque<u32>>,
    idle: Mutex<u32>,
    arrived: Notify,
}

impl Mailbox {
    async fn post(&self, letter: u32) {
        self.letters.lock().await.push_back(letter);
        self.arrived.notify_all();
    }

    async fn take(&self, fixed: bool) -> u32 {
        loop {
            let early = fixed.then(|| self.arrived.notified());
            if let Some(letter) = self.next().await {
                return letter;
            }
            *self.idle.lock().await += 1;
            match early {
                Some(early) => early.await,
                None => self.arrived.notified().await,
            }
        }
    }

    async fn next(&self) -> Option<u32> {
        self.letters.lock().await.pop_front()
    }
}

pub(crate) async fn run(fixed: bool) {
    let mailbox = Arc::new(Mailbox::default());
    scope(async |s| {
        let posts = Arc::clone(&mailbox);
        s.launch(async move {
            for letter in 0..4 {
                posts.post(letter).await;
            }
        });
        for _ in 0..2 {
            let takes = Arc::clone(&mailbox);
            s.launch(async move {
                for _ in 0..2 {
                    takes.take(fixed).await;
                }
            });
        }
    })
    .await;
}
