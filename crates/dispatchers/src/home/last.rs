//! The end of a thread, for homes that have not ended before.
//!
//! A [`LocalRuntime`](super::LocalRuntime) that is forgotten never closes its home, and a wake would
//! put letters into a mailbox that nobody empties. What is bound there may be dropped on its thread
//! alone, so this is the last occasion: a thread-local with a destructor, which closes the homes
//! that are left.
//!
//! - It may run before the destructor of a thread-local that owns the `LocalRuntime`. That one then
//!   finds its home closed.
//! - It waits for nobody, as it also runs inside of `process::exit`. What another thread is waking at
//!   this moment is leaked, and reported there.
//! - `process::exit` inside of a run leaves all as it is: the coroutine that has called it is still
//!   on the stack.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use corymb_core::internal::report_here;

use super::{Home, homes, innermost};

thread_local! {
    static OPEN: Open = const { Open(RefCell::new(Vec::new())) };
}

/// The homes of this thread that end with their owner.
struct Open(RefCell<Vec<Arc<Home>>>);

/// Has `home` closed with the thread at the latest. In destructors of thread-locals it may be too
/// late for that.
pub(super) fn add(home: &Arc<Home>) {
    let _too_late = OPEN.try_with(|open| open.0.borrow_mut().push(Arc::clone(home)));
}

/// `home` was closed by its owner.
pub(super) fn remove(home: &Arc<Home>) {
    let _too_late =
        OPEN.try_with(|open| open.0.borrow_mut().retain(|other| !Arc::ptr_eq(other, home)));
}

/// Whether there is a home on this thread that lasts for several runs.
pub(super) fn has_open() -> bool {
    OPEN.try_with(|open| !open.0.borrow().is_empty()).unwrap_or(false)
}

/// Whether one of them has something to do, and is not served.
pub(super) fn rests_with_work() -> bool {
    let rests = |home: &Arc<Home>| !homes().any(|served| Arc::ptr_eq(served, home));
    let has_work = |home: &Arc<Home>| rests(home) && !home.mailbox.is_empty();
    OPEN.try_with(|open| open.0.borrow().iter().any(has_work)).unwrap_or(false)
}

impl Drop for Open {
    fn drop(&mut self) {
        if innermost().is_some() {
            return;
        }
        for home in self.0.take() {
            // A panic in a destructor of a thread-local would end the process.
            if let Err(payload) = catch_unwind(AssertUnwindSafe(|| home.close_at_once())) {
                report_here("end of a thread", payload);
            }
        }
    }
}
