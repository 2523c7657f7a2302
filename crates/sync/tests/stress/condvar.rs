//! A bounded buffer of a mutex and two condition variables: each value is taken once, those of one
//! sender in their order, and nobody sleeps who has something to do.

use std::collections::VecDeque;
use std::sync::Arc;

use corymb::scope;
use corymb_sync::{Condvar, Mutex};
use futures::FutureExt;
use futures::future::BoxFuture;

use crate::ground::{Chance, Ledger, TASKS, Token, dawdle, try_some};

const EACH: usize = 100;
const SENDERS: usize = TASKS / 2;
const RECEIVERS: usize = TASKS - SENDERS;

struct Buffer {
    state: Mutex<State>,
    filled: Condvar,
    freed: Condvar,
    capacity: usize,
}

struct State {
    values: VecDeque<Token>,
    /// How many are still to be taken.
    left: usize,
}

pub(crate) fn round(chance: Chance) -> BoxFuture<'static, ()> {
    async move {
        let ledger = Ledger::new(SENDERS * EACH);
        let buffer = Arc::new(Buffer {
            state: Mutex::new(State { values: VecDeque::new(), left: SENDERS * EACH }),
            filled: Condvar::new(),
            freed: Condvar::new(),
            capacity: 1 + chance.below(3),
        });
        scope(async |s| {
            for sender in 0..SENDERS {
                let values = (0..EACH).map(|n| ledger.make(sender * EACH + n)).collect();
                s.launch(send(buffer.clone(), chance.fork(), values));
            }
            for _ in 0..RECEIVERS {
                s.launch(receive(buffer.clone(), chance.fork()));
            }
        })
        .await;
        ledger.check(SENDERS * EACH);
        assert!((0..SENDERS * EACH).all(|n| ledger.has(n) == 1));
        assert_eq!(buffer.filled.statistics().waiting + buffer.freed.statistics().waiting, 0);
    }
    .boxed()
}

async fn send(buffer: Arc<Buffer>, chance: Chance, mut values: VecDeque<Token>) {
    while !values.is_empty() {
        let guard = buffer.state.lock().await;
        let is_full = |state: &mut State| state.values.len() == buffer.capacity;
        let freed = try_some(&chance, buffer.freed.wait_while(guard, is_full)).await.done();
        if let Some(mut state) = freed {
            assert!(state.values.len() < buffer.capacity);
            state.values.extend(values.pop_front());
            buffer.filled.notify_one();
        }
        dawdle(&chance).await;
    }
}

async fn receive(buffer: Arc<Buffer>, chance: Chance) {
    let mut next = [0; SENDERS];
    loop {
        let guard = buffer.state.lock().await;
        let is_empty = |state: &mut State| state.values.is_empty() && state.left > 0;
        let filled = try_some(&chance, buffer.filled.wait_while(guard, is_empty)).await.done();
        let Some(mut state) = filled else { continue };
        let Some(token) = state.values.pop_front() else { return };
        state.left -= 1;
        match state.left {
            0 => buffer.filled.notify_all(),
            _ => buffer.freed.notify_one(),
        }
        drop(state);
        let n = token.had();
        assert!(n % EACH >= next[n / EACH], "out of order");
        next[n / EACH] = n % EACH + 1;
        dawdle(&chance).await;
    }
}
