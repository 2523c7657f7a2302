//! Two that send to each other, each with a full inbox, and neither reads before it has sent.

use std::sync::Arc;

use corymb::prelude::*;
use corymb::sync::Mutex;
use corymb::sync::channel::{self, Receiver, Sender};

enum Letter {
    /// To be passed on to the other one.
    Original(u32),
    Copy(u32),
}

const LETTERS: u32 = 3;

pub(crate) async fn run(fixed: bool) {
    let inbox = || if fixed { channel::unbounded() } else { channel::bounded(2) };
    let ((to_a, a), (to_b, b)) = (inbox(), inbox());
    let archive = Arc::new(Mutex::new(Vec::new()));
    scope(async |s| {
        s.launch(serve(a, to_b.clone(), Arc::clone(&archive)));
        s.launch(serve(b, to_a.clone(), Arc::clone(&archive)));
        for to in [to_a, to_b] {
            s.launch(async move {
                for n in 0..LETTERS {
                    let _ = to.send(Letter::Original(n)).await;
                }
            });
        }
    })
    .await;
}

async fn serve(inbox: Receiver<Letter>, other: Sender<Letter>, archive: Arc<Mutex<Vec<u32>>>) {
    for _ in 0..2 * LETTERS {
        match inbox.recv().await {
            Ok(Letter::Original(n)) => drop(other.send(Letter::Copy(n)).await),
            Ok(Letter::Copy(n)) => archive.lock().await.push(n),
            Err(_) => break,
        }
    }
}
