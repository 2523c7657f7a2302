//! Threads as the system sees them: whether one wants a processor of the machine, or waits.
//!
//! On Linux and Android that is the state letter in `/proc/self/task/<id>/stat`. It is `R` also for
//! a thread that has to wait for its turn, so that it says the same on a machine that has too much
//! to do; the time that a thread was given would not. Elsewhere, and without `/proc`, nothing is
//! known.

#[cfg(any(target_os = "linux", target_os = "android"))]
mod imp {
    use std::fs::File;
    use std::io::Read;

    use rustix::thread::{Pid, gettid};

    /// As many bytes of the file as reach beyond the letter: the number, the name, the letter.
    const HEAD: usize = 64;

    pub(in super::super) fn number() -> u32 {
        gettid().as_raw_pid().cast_unsigned()
    }

    pub(super) fn letter(number: u32) -> Option<u8> {
        let thread = Pid::from_raw(number.cast_signed())?;
        let path = format!("/proc/self/task/{}/stat", thread.as_raw_pid());
        let mut head = [0; HEAD];
        let len = File::open(path).and_then(|mut file| file.read(&mut head)).ok()?;
        super::letter_in(&head[..len])
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod imp {
    pub(in super::super) fn number() -> u32 {
        0
    }

    pub(super) fn letter(_number: u32) -> Option<u8> {
        None
    }
}

/// The number by which others ask for the calling thread; zero where none is known.
pub(super) use imp::number;

/// Whether the thread of this number computes, or would if it had its turn; nothing if the system
/// does not say so.
pub(super) fn computes(number: u32) -> Option<bool> {
    imp::letter(number).map(|letter| letter == b'R')
}

/// The state in a `stat` file: behind the name, which may hold anything.
#[cfg_attr(not(any(target_os = "linux", target_os = "android")), expect(dead_code))]
fn letter_in(stat: &[u8]) -> Option<u8> {
    let end_of_name = stat.iter().rposition(|it| *it == b')')?;
    stat.get(end_of_name + 2).copied()
}

#[cfg(all(test, not(loom), any(target_os = "linux", target_os = "android")))]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::thread;

    #[test]
    fn the_letter_comes_behind_the_name() {
        assert_eq!(letter_in(b"17 (a) R 1 2"), Some(b'R'));
        assert_eq!(letter_in(b"17 (a) R (b) S 1 2"), Some(b'S'));
        assert_eq!(letter_in(b"17 (a)"), None);
        assert_eq!(letter_in(b""), None);
    }

    #[test]
    #[cfg_attr(miri, ignore = "it asks the system")]
    fn a_thread_that_asks_computes_and_one_that_waits_does_not() {
        assert_eq!(computes(number()), Some(true));
        let (tell, told) = mpsc::channel();
        let (release, released) = mpsc::channel::<()>();
        let other = thread::spawn(move || {
            tell.send(number()).unwrap();
            let _released = released.recv();
        });
        let other_number = told.recv().unwrap();
        while computes(other_number) != Some(false) {
            thread::yield_now();
        }
        drop(release);
        other.join().unwrap();
        while computes(other_number).is_some() {
            thread::yield_now();
        }
    }
}
