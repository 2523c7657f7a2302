//! A cache is asked, and filled if it has nothing: two that ask for the same both fill it.

use std::collections::BTreeMap;
use std::sync::Arc;

use corymb::prelude::*;
use corymb::sync::{Mutex, OnceCell};

#[derive(Default)]
struct Cache {
    pages: Mutex<BTreeMap<u32, u32>>,
    cells: Mutex<BTreeMap<u32, Arc<OnceCell<u32>>>>,
    loads: Mutex<Vec<u32>>,
}

impl Cache {
    async fn get(&self, key: u32) -> u32 {
        let cached = self.pages.lock().await.get(&key).copied();
        if let Some(page) = cached {
            return page;
        }
        let page = self.load(key).await;
        self.pages.lock().await.insert(key, page);
        page
    }

    async fn get_once(&self, key: u32) -> u32 {
        let cell = Arc::clone(self.cells.lock().await.entry(key).or_default());
        *cell.get_or_init(self.load(key)).await
    }

    async fn load(&self, key: u32) -> u32 {
        let mut loads = self.loads.lock().await;
        assert!(!loads.contains(&key), "the same page was loaded twice");
        loads.push(key);
        key * 7
    }
}

pub(crate) async fn run(fixed: bool) {
    let cache = Arc::new(Cache::default());
    scope(async |s| {
        for keys in [[1, 2, 3], [4, 2, 5], [6, 7, 8]] {
            let cache = Arc::clone(&cache);
            s.launch(async move {
                for key in keys {
                    let page = if fixed { cache.get_once(key).await } else { cache.get(key).await };
                    assert_eq!(page, key * 7);
                }
            });
        }
    })
    .await;
}
