//! A flag is looked at, and then a handler is registered: a cancellation between the two reaches
//! nobody.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use corymb::prelude::*;
use corymb::sync::{Mutex, oneshot};

#[derive(Default)]
struct Token {
    is_cancelled: AtomicBool,
    handlers: Mutex<Vec<oneshot::Sender<()>>>,
}

impl Token {
    async fn cancel(&self) {
        self.is_cancelled.store(true, SeqCst);
        for handler in self.handlers.lock().await.drain(..) {
            let _ = handler.send(());
        }
    }

    async fn cancelled(&self, fixed: bool) {
        if self.is_cancelled.load(SeqCst) {
            return;
        }
        let (tx, rx) = oneshot::channel();
        let mut handlers = self.handlers.lock().await;
        if fixed && self.is_cancelled.load(SeqCst) {
            return;
        }
        handlers.push(tx);
        drop(handlers);
        let _ = rx.await;
    }
}

pub(crate) async fn run(fixed: bool) {
    let token = Arc::new(Token::default());
    let steps = Arc::new(Mutex::new(0));
    scope(async |s| {
        for _ in 0..3 {
            let (token, steps) = (Arc::clone(&token), Arc::clone(&steps));
            s.launch(async move {
                for _ in 0..2 {
                    *steps.lock().await += 1;
                }
                token.cancelled(fixed).await;
            });
        }
        for _ in 0..2 {
            *steps.lock().await += 1;
        }
        token.cancel().await;
    })
    .await;
}
