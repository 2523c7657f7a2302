//! The console of Windows: Ctrl-C and Ctrl-Break. Where it is closed, the system does not wait.

use std::io;
use std::process;

use super::Signal;

const CTRL_C: Signal = Signal { name: "Ctrl-C", number: 2 };

/// Calls `on_signal` with each signal that comes, on a thread of its own, from now on.
pub(super) fn listen(on_signal: fn(Signal)) -> io::Result<()> {
    ctrlc::try_set_handler(move || on_signal(CTRL_C)).map_err(io::Error::other)
}

/// Does what the system does with a signal that nobody handles: ends the process.
pub(super) fn default(signal: Signal) {
    process::exit(signal.code().into());
}
