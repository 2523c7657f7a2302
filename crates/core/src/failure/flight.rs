//! Panics on their way through code that is not the kernel's.
//!
//! A scope gives the panic of a child to its caller by going on with it there: what unwinds is the
//! payload, as the child has thrown it, and nothing else. What more is known of the panic (where it
//! began, what is suppressed) is noted here, and found by the payload where the kernel catches it
//! again: at the end of a scope around, or of the coroutine.
//!
//! ```text
//!   scope ──[depart]──► payload ──► the caller's code ──► caught by a scope or the coroutine ──[arrive]
//!             │                           │
//!             └──► note                   └──► caught there: the poll's end finds the note ──[land]
//! ```
//!
//! A note is of one poll of one coroutine. Outside of coroutines there is nobody to find it, so what
//! is suppressed is reported at once.

use std::any::{Any, TypeId};
use std::cell::Cell;
use std::ptr;
use std::sync::Arc;

use super::{Failure, FailureHandler, report_in_context, report_to};
use crate::current;
use crate::error::{Panic, text_of};
use crate::hooks::RuntimeHooks;
use crate::node::Node;
use crate::prim::thread_local;

struct Note {
    /// The coroutine that is polled. Compared, never followed.
    node: *const Node,
    payload: *const (),
    kind: TypeId,
    /// Without its payload.
    panic: Panic,
    handler: Option<FailureHandler>,
    runtime: Arc<dyn RuntimeHooks>,
    /// The one before it on this thread.
    before: *mut Self,
}

// A pointer to a box, newest first: thread-locals of the kernel have no destructors.
thread_local! {
    static ALOFT: Cell<*mut Note> = const { Cell::new(ptr::null_mut()) };
}

/// The payload of a panic that goes on in the code that calls this; the rest of it is noted.
pub(crate) fn depart(mut panic: Panic) -> Box<dyn Any + Send> {
    let payload = panic.take_payload();
    // Without a size it has no address of its own.
    let has_address = size_of_val(&*payload) > 0;
    let Some(poll) = current::poll_here().filter(|_| has_address) else {
        tell_suppressed(&mut panic, report_in_context);
        return payload;
    };
    poll.note_panic();
    // SAFETY: polled, so unended.
    let context = unsafe { poll.node().context() };
    let note = Note {
        node: poll.node(),
        payload: address(&*payload),
        kind: (*payload).type_id(),
        panic,
        handler: context.handler.clone(),
        runtime: Arc::clone(&context.runtime),
        before: ALOFT.with(Cell::get),
    };
    ALOFT.with(|aloft| aloft.set(Box::into_raw(Box::new(note))));
    payload
}

/// What was noted of the panic that was caught with this payload. Two are taken for one only if
/// the first was caught by the code that they went through, dropped, and followed by another one
/// of the same type and text at the same address, in the same poll.
pub(crate) fn arrive(payload: &(dyn Any + Send)) -> Option<Panic> {
    let kind = payload.type_id();
    let note = take(|note| {
        note.payload == address(payload)
            && note.kind == kind
            && text_of(payload).is_none_or(|text| text == note.panic.message())
    });
    note.map(|note| note.panic)
}

/// The poll of `node` is over, or its body: what was caught by its code is nobody's any more.
#[cold]
pub(crate) fn land(node: *const Node) {
    while let Some(mut note) = take(|note| note.node == node) {
        let (handler, runtime) = (note.handler.take(), Arc::clone(&note.runtime));
        tell_suppressed(&mut note.panic, |failure| {
            report_to(handler.as_ref(), &*runtime, failure);
        });
    }
}

fn tell_suppressed(panic: &mut Panic, tell: impl Fn(&Failure)) {
    for failure in panic.take_suppressed() {
        tell(&Failure::Suppressed { by: panic.who().clone(), failure: Box::new(failure) });
    }
}

fn address(payload: &(dyn Any + Send)) -> *const () {
    ptr::from_ref(payload).cast()
}

/// Takes the newest note of this thread that is meant.
fn take(is_meant: impl Fn(&Note) -> bool) -> Option<Box<Note>> {
    ALOFT.with(|first| {
        let mut after: *mut Note = ptr::null_mut();
        let mut at = first.get();
        // SAFETY: null, or from a box of this list, which this thread alone has.
        while let Some(note) = unsafe { at.as_ref() } {
            if is_meant(note) {
                let before = note.before;
                match after.is_null() {
                    true => first.set(before),
                    // SAFETY: in the list, and `note` is another one.
                    false => unsafe { (*after).before = before },
                }
                // SAFETY: it was made by `Box::into_raw`, and is out of the list now.
                return Some(unsafe { Box::from_raw(at) });
            }
            after = at;
            at = note.before;
        }
        None
    })
}
