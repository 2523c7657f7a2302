//! Who subscribes too late waits for an event that has been.

use std::sync::Arc;

use corymb::prelude::*;
use corymb::sync::{Mutex, broadcast};

#[derive(Clone, Copy, PartialEq)]
enum Event {
    Loading(u32),
    Ready,
}

pub(crate) async fn run(fixed: bool) {
    let (events, _) = broadcast::channel(8);
    let log = Arc::new(Mutex::new(Vec::new()));
    scope(async |s| {
        for n in 0..3 {
            let (events, log) = (events.clone(), Arc::clone(&log));
            let early = fixed.then(|| events.subscribe());
            s.launch(async move {
                log.lock().await.push(n);
                let mut seen = early.unwrap_or_else(|| events.subscribe());
                while seen.recv().await.is_ok_and(|event| event != Event::Ready) {
                    log.lock().await.push(n);
                }
            });
        }
        for part in 0..4 {
            log.lock().await.push(10 + part);
            let _ = events.send(Event::Loading(part));
        }
        let _ = events.send(Event::Ready);
    })
    .await;
}
