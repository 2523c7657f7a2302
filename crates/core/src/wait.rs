//! What a suspended coroutine waits for, for dumps and deadlock reports.
//!
//! One word in the cell's header: the place of the await, tagged with the kind of wait. It
//! explains; nothing depends on it. It is set where a wait begins and not cleared: a future that
//! corymb does not know leaves the note of the wait before.

use std::panic::Location;

use crate::current;
use crate::prim::atomic::{AtomicPtr, Ordering};

/// What kind of thing a coroutine waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[non_exhaustive]
pub enum WaitKind {
    /// Nothing: a part with a context of its own was polled.
    Section = 0,
    /// A point in time.
    Timer = 1,
    /// The end of a job.
    Join = 2,
    /// The children of a scope.
    Scope = 3,
    /// A channel: an element, or a free place.
    Channel = 4,
    /// A lock or a permit.
    Lock = 5,
    /// Readiness of a socket or file.
    Io = 6,
    /// A continuation that a callback resumes.
    Continuation = 7,
}

impl WaitKind {
    /// What is waited for.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Section => "a section",
            Self::Timer => "a timer",
            Self::Join => "a job",
            Self::Scope => "the children of a scope",
            Self::Channel => "a channel",
            Self::Lock => "a lock or signal",
            Self::Io => "input or output",
            Self::Continuation => "a callback",
        }
    }
}

/// The low bits of a `Location`'s address, which its alignment leaves free.
const KIND: usize = align_of::<Location<'static>>() - 1;
const _: () = assert!(KIND >= WaitKind::Continuation as usize);

/// Notes what the current coroutine is about to wait for; of several notes in one poll the last
/// stands. Outside a coroutine it does nothing.
#[inline]
pub fn waiting_on(kind: WaitKind, place: &'static Location<'static>) {
    current::with_wait_word(|word| word.set(kind, place));
}

/// The header's word.
#[derive(Debug)]
pub(crate) struct WaitWord(AtomicPtr<Location<'static>>);

impl WaitWord {
    pub(crate) fn new() -> Self {
        Self(AtomicPtr::new(std::ptr::null_mut()))
    }

    #[inline]
    pub(crate) fn set(&self, kind: WaitKind, place: &'static Location<'static>) {
        let tagged = std::ptr::from_ref(place).cast_mut().map_addr(|addr| addr | kind as usize);
        // Ordering: Relaxed, because the word only explains; the location itself is static.
        self.0.store(tagged, Ordering::Relaxed);
    }

    /// What was noted last.
    pub(crate) fn get(&self) -> Option<(WaitKind, &'static Location<'static>)> {
        // Ordering: as in `set`.
        let tagged = self.0.load(Ordering::Relaxed);
        let kind = match tagged.addr() & KIND {
            1 => WaitKind::Timer,
            2 => WaitKind::Join,
            3 => WaitKind::Scope,
            4 => WaitKind::Channel,
            5 => WaitKind::Lock,
            6 => WaitKind::Io,
            7 => WaitKind::Continuation,
            _ => WaitKind::Section,
        };
        // SAFETY: the address without its tag is null or that of a `&'static Location`.
        unsafe { tagged.map_addr(|addr| addr & !KIND).as_ref() }.map(|place| (kind, place))
    }
}
