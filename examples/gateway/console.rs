//! What is said while the program runs. It goes to stderr: stdout is for the summary.

use std::fmt;
use std::io::{self, IsTerminal, Write};

/// Goes to the start of the line, and empties it.
const CLEAR: &str = "\r\x1b[K";

/// Whether there is somebody who watches.
pub(crate) fn is_terminal() -> bool {
    io::stderr().is_terminal()
}

/// Writes a line. That nobody can read it is no reason to stop.
pub(crate) fn note(text: fmt::Arguments<'_>) {
    let start = if is_terminal() { CLEAR } else { "" };
    let _written = writeln!(io::stderr().lock(), "{start}{text}");
}

/// Shows how far things are: on a terminal in one line, which the next call replaces.
pub(crate) fn progress(text: fmt::Arguments<'_>) {
    let mut out = io::stderr().lock();
    let _written = match is_terminal() {
        true => write!(out, "{CLEAR}{text}").and_then(|()| out.flush()),
        false => writeln!(out, "{text}"),
    };
}

/// Takes the progress away.
pub(crate) fn end_progress() {
    if is_terminal() {
        let _written = write!(io::stderr().lock(), "{CLEAR}");
    }
}
