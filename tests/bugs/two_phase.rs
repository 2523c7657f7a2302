//! Money is taken from one account, then given to another: who looks between misses it.

use std::sync::Arc;

use corymb::prelude::*;
use corymb::sync::Mutex;

#[derive(Default)]
struct Bank {
    accounts: [Mutex<i32>; 3],
    closed_books: Mutex<()>,
}

impl Bank {
    async fn transfer(&self, from: usize, to: usize, fixed: bool) {
        let _books = if fixed { Some(self.closed_books.lock().await) } else { None };
        *self.accounts[from].lock().await -= 5;
        *self.accounts[to].lock().await += 5;
    }

    async fn audit(&self) {
        let _books = self.closed_books.lock().await;
        let mut sum = 0;
        for account in &self.accounts {
            sum += *account.lock().await;
        }
        assert_eq!(sum, 0, "the books do not balance");
    }
}

pub(crate) async fn run(fixed: bool) {
    let bank = Arc::new(Bank::default());
    scope(async |s| {
        for (from, to) in [(0, 1), (1, 2)] {
            let bank = Arc::clone(&bank);
            s.launch(async move {
                for _ in 0..2 {
                    bank.transfer(from, to, fixed).await;
                }
            });
        }
        for _ in 0..2 {
            bank.audit().await;
        }
    })
    .await;
}
