//! A server stops when it is told to: what was sent to it by then, it has not read.

use std::sync::Arc;

use corymb::prelude::*;
use corymb::select;
use corymb::sync::channel::{self, Receiver};
use corymb::sync::{Mutex, Notify};

pub(crate) async fn run(fixed: bool) {
    let (tx, rx) = channel::bounded(2);
    let (stop, handled) = (Arc::new(Notify::new()), Arc::new(Mutex::new(Vec::new())));
    let accepted = scope(async |s| {
        s.launch(serve(rx, Arc::clone(&stop), Arc::clone(&handled), fixed));
        let clients = [10, 20].map(|base| {
            let tx = tx.clone();
            s.spawn(async move {
                let mut accepted = Vec::new();
                for request in base..base + 3 {
                    if tx.send(request).await.is_ok() {
                        accepted.push(request);
                    }
                }
                accepted
            })
        });
        stop.notify_one();
        let [a, b] = clients;
        [a.await, b.await].concat()
    })
    .await;
    let handled = handled.lock().await;
    for request in accepted {
        assert!(handled.contains(&request), "{request} was accepted, and never handled");
    }
}

async fn serve(rx: Receiver<u32>, stop: Arc<Notify>, handled: Arc<Mutex<Vec<u32>>>, fixed: bool) {
    loop {
        select! {
            Ok(request) = rx.recv() => handled.lock().await.push(request),
            _ = stop.notified() => break,
            else => break,
        }
    }
    if fixed {
        rx.close();
        while let Ok(request) = rx.recv().await {
            handled.lock().await.push(request);
        }
    }
}
