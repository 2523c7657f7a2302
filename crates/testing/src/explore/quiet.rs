//! Panics of runs that are made again and again: kept, not printed.

use std::cell::{Cell, RefCell};
use std::panic;
use std::sync::Once;

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
    static LAST: RefCell<Option<Last>> = const { RefCell::new(None) };
}

/// A panic that was not printed.
struct Last {
    place: Option<String>,
    /// All that the hook would have printed.
    text: String,
}

static HOOK: Once = Once::new();

/// Until it is dropped, panics of this thread are not printed.
pub(crate) struct Quiet {
    outer: bool,
}

/// Begins it. The first time, the process's panic hook is wrapped in one that asks whether the
/// thread is quiet.
pub(crate) fn begin() -> Quiet {
    HOOK.call_once(|| {
        let print = panic::take_hook();
        panic::set_hook(Box::new(move |panic| match QUIET.get() {
            false => print(panic),
            true => {
                let place = panic.location().map(ToString::to_string);
                let kept = Last { place, text: panic.to_string() };
                LAST.with(|last| *last.borrow_mut() = Some(kept));
            }
        }));
    });
    LAST.with(|last| last.borrow_mut().take());
    Quiet { outer: QUIET.replace(true) }
}

/// The place of the last panic of this thread since then.
pub(super) fn last_place() -> Option<String> {
    LAST.with(|last| last.borrow().as_ref().and_then(|last| last.place.clone()))
}

impl Drop for Quiet {
    #[expect(clippy::print_stderr, reason = "as the hook would have done")]
    fn drop(&mut self) {
        QUIET.set(self.outer);
        // One that gets out of the run is told by nobody else.
        if std::thread::panicking()
            && let Some(last) = LAST.with(|last| last.borrow_mut().take())
        {
            eprintln!("{}", last.text);
        }
    }
}
