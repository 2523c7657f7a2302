//! Programs that proptest draws, and makes smaller when they fail.
//!
//! - [`JobTree`] is a tree of scopes and coroutines that sleep, fail, panic and wait to be cancelled;
//!   a test says what its work is.
//! - [`ChannelOp`] and [`LockOp`] are what coroutines do to a channel or a lock. [`lists_of`] them has
//!   one for each coroutine; a test does to its own channel or lock what they say.
//! - [`Guide`](crate::Guide) is a schedule for whatever program is drawn beside it.
//!
//! A tree and a schedule are drawn by `any::<JobTree>()` and `any::<Guide>()`.
//!
//! # Examples
//!
//! ```
//! use std::sync::Arc;
//! use corymb::sync::Semaphore;
//! use corymb::testing::{Explorer, Guide, programs::JobTree};
//! use corymb::yield_now;
//! use proptest::prelude::*;
//!
//! async fn permits_come_back(tree: JobTree) {
//!     let permits = Arc::new(Semaphore::new(2));
//!     let used = Arc::clone(&permits);
//!     tree.run(move || {
//!         let permits = Arc::clone(&used);
//!         async move {
//!             let _permit = permits.acquire().await;
//!             yield_now().await;
//!         }
//!     })
//!     .await;
//!     assert_eq!(permits.available_permits(), 2);
//! }
//!
//! proptest!(ProptestConfig::with_cases(50), |(tree: JobTree, guide: Guide)| {
//!     Explorer::new().guide(guide).run(|| permits_come_back(tree.clone()));
//! });
//! ```

mod ops;
pub(crate) mod smaller;
mod tree;

pub use ops::{ChannelOp, LockOp, Mode, Op, Patience, lists_of};
pub use tree::{Act, Ended, JobTree};
