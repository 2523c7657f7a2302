//! Double-checked locking without the second check.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

use corymb::prelude::*;
use corymb::sync::{Mutex, RwLock};

#[derive(Default)]
struct Service {
    settings: RwLock<Option<u32>>,
    initialised: AtomicU32,
    served: Mutex<Vec<u32>>,
}

impl Service {
    async fn settings(&self, fixed: bool) -> u32 {
        if let Some(settings) = *self.settings.read().await {
            return settings;
        }
        let mut settings = self.settings.write().await;
        if fixed && let Some(settings) = *settings {
            return settings;
        }
        let before = self.initialised.fetch_add(1, SeqCst);
        assert_eq!(before, 0, "initialised twice");
        *settings.insert(7)
    }
}

pub(crate) async fn run(fixed: bool) {
    let service = Arc::new(Service::default());
    scope(async |s| {
        for n in 0..3 {
            let service = Arc::clone(&service);
            s.launch(async move {
                for m in 0..2 {
                    service.served.lock().await.push(n + m);
                    service.settings(fixed).await;
                }
            });
        }
    })
    .await;
}
