//! A couple with one spoon: whoever has it leaves it to the other one, if that one is hungry.

use std::sync::Arc;

use corymb::prelude::*;
use corymb::sync::Mutex;

struct Table {
    spoon: usize,
    is_hungry: [bool; 2],
}

pub(crate) async fn run(fixed: bool) {
    let table = Arc::new(Mutex::new(Table { spoon: 0, is_hungry: [false; 2] }));
    scope(async |s| {
        for me in 0..2 {
            let table = Arc::clone(&table);
            s.launch(async move {
                for _ in 0..2 {
                    dine(&table, me, fixed).await;
                }
            });
        }
    })
    .await;
}

async fn dine(table: &Mutex<Table>, me: usize, fixed: bool) {
    let other = 1 - me;
    table.lock().await.is_hungry[me] = true;
    loop {
        let mut table = table.lock().await;
        let is_polite = table.is_hungry[other] && !(fixed && me == 0);
        if table.spoon == me && !is_polite {
            table.is_hungry[me] = false;
            table.spoon = other;
            return;
        }
        if table.spoon == me || !table.is_hungry[other] {
            table.spoon = if table.spoon == me { other } else { me };
        }
        drop(table);
        yield_now().await;
    }
}
