//! The waker of a coroutine, which is its cell.

use std::ptr::NonNull;
use std::task::{RawWaker, RawWakerVTable, Waker};

use crate::node::tree::dispatch_if;
use crate::node::{Node, release};

/// The one vtable of all cells: its address tells a cell's waker from a foreign one.
pub(crate) static WAKER_VTABLE: RawWakerVTable =
    RawWakerVTable::new(clone, wake, wake_by_ref, drop_waker);

/// Whether `waker` is a coroutine's own, so that to clone it runs no foreign code.
#[inline]
pub fn is_own_waker(waker: &Waker) -> bool {
    std::ptr::eq(waker.vtable(), &raw const WAKER_VTABLE)
}

/// A waker of `node`, which the caller must not drop unless it owns a reference for it.
#[inline]
pub(crate) fn borrowed(node: NonNull<Node>) -> std::mem::ManuallyDrop<Waker> {
    let raw = RawWaker::new(node.as_ptr().cast_const().cast(), &WAKER_VTABLE);
    // SAFETY: the functions below keep the contract of a waker, given that each `Waker` owns a
    // reference; this one is not dropped by its type.
    std::mem::ManuallyDrop::new(unsafe { Waker::from_raw(raw) })
}

fn node(data: *const ()) -> NonNull<Node> {
    // SAFETY: a cell's waker never has a null pointer.
    unsafe { NonNull::new_unchecked(data.cast::<Node>().cast_mut()) }
}

unsafe fn clone(data: *const ()) -> RawWaker {
    // SAFETY: the waker that is cloned owns a reference, or borrows one for the call.
    unsafe { node(data).as_ref() }.state.add_ref();
    RawWaker::new(data, &WAKER_VTABLE)
}

unsafe fn wake(data: *const ()) {
    // SAFETY: as in `clone`; the reference lasts until `drop_waker`.
    unsafe { wake_by_ref(data) };
    // SAFETY: `wake` consumes the waker's reference.
    unsafe { drop_waker(data) };
}

unsafe fn wake_by_ref(data: *const ()) {
    // SAFETY: as in `clone`.
    let wake = unsafe { node(data).as_ref() }.state.wake();
    // SAFETY: what `wake` answered is ours to act on.
    unsafe { dispatch_if(node(data), wake) };
}

unsafe fn drop_waker(data: *const ()) {
    // SAFETY: the waker owned one reference, and is gone.
    unsafe { release(node(data)) };
}
