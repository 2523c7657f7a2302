//! Quick random numbers for decisions of no consequence but fairness.

use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};

thread_local! {
    static STATE: Cell<u64> = const { Cell::new(0) };
}

/// One of `0..n`; zero for `n` of zero.
///
/// # Source
///
/// Marsaglia, "Xorshift RNGs" (2003); the reduction is Lemire's multiplication.
#[inline]
pub fn below(n: usize) -> usize {
    STATE.with(|state| {
        let mut x = state.get();
        if x == 0 {
            x = RandomState::new().hash_one(0) | 1;
        }
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        state.set(x);
        let scaled = (u128::from(x) * n as u128) >> 64;
        usize::try_from(scaled).unwrap_or(0)
    })
}
