//! A session that is refused leaves its heartbeat behind.

use std::sync::Arc;
use std::time::Duration;

use corymb::prelude::*;
use corymb::sync::{Mutex, Semaphore};

#[derive(Debug)]
struct Refused;

struct Server {
    seats: Semaphore,
    talks: Mutex<u32>,
}

impl Server {
    async fn session(&self, fixed: bool) -> Result<(), Refused> {
        let heartbeat = launch_detached(async {
            loop {
                sleep(Duration::from_secs(1)).await;
            }
        });
        let greeted = self.greet().await;
        if fixed || greeted.is_ok() {
            heartbeat.cancel_and_join().await;
        }
        greeted
    }

    async fn greet(&self) -> Result<(), Refused> {
        let _seat = self.seats.try_acquire().map_err(|_| Refused)?;
        for _ in 0..2 {
            *self.talks.lock().await += 1;
        }
        Ok(())
    }
}

pub(crate) async fn run(fixed: bool) {
    let server = Arc::new(Server { seats: Semaphore::new(1), talks: Mutex::new(0) });
    scope(async |s| {
        for _ in 0..3 {
            let server = Arc::clone(&server);
            s.launch(async move {
                *server.talks.lock().await += 1;
                let _ = server.session(fixed).await;
            });
        }
    })
    .await;
}
