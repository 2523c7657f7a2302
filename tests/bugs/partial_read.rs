//! A message of two parts is read in a branch of a `select!`: another branch wins between the two.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use corymb::prelude::*;
use corymb::select;
use corymb::sync::channel::{self, Receiver};
use corymb::sync::{Mutex, Notify, RecvError};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Part {
    Header,
    Body,
}

const MESSAGES: usize = 3;

pub(crate) async fn run(fixed: bool) {
    let (tx, rx) = channel::bounded(2);
    let (ticks, log) = (Arc::new(Notify::new()), Arc::new(Mutex::new(0)));
    scope(async |s| {
        s.launch(async move {
            for _ in 0..MESSAGES {
                let _ = tx.send(Part::Header).await;
                let _ = tx.send(Part::Body).await;
            }
        });
        let clock = Arc::clone(&ticks);
        s.launch(async move {
            for _ in 0..2 {
                sleep(Duration::ZERO).await;
                clock.notify_one();
            }
        });
        for _ in 0..MESSAGES {
            let mut message = pin!(read(&rx));
            loop {
                let read = select! {
                    read = &mut message => read,
                    _ = ticks.notified() => {
                        *log.lock().await += 1;
                        if !fixed {
                            message.set(read(&rx));
                        }
                        continue;
                    }
                };
                break read.expect("they are all sent");
            }
        }
    })
    .await;
}

async fn read(parts: &Receiver<Part>) -> Result<(), RecvError> {
    assert_eq!(parts.recv().await?, Part::Header, "a body without its header");
    assert_eq!(parts.recv().await?, Part::Body);
    Ok(())
}
