//! What guards, permits and futures are, borrowed or owned: they differ in how they point to their
//! primitive, a reference or an `Arc`. Programs name them by the aliases in [`sync`](crate); their
//! methods are listed here.

pub use crate::mutex::{Guard as MutexGuard, Lock as MutexLock};
pub use crate::rwlock::{Acquire as RwLockAcquire, Guard as RwLockGuard, Upgrade as RwLockUpgrade};
pub use crate::semaphore::{Acquire as SemaphoreAcquire, Permit as SemaphorePermit};
