//! The signals of Unix.

use std::io;
use std::thread;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use super::Signal;

const SIGNALS: [(i32, Signal); 2] = [
    (SIGINT, Signal { name: "SIGINT", number: 2 }),
    (SIGTERM, Signal { name: "SIGTERM", number: 15 }),
];

/// Calls `on_signal` with each signal that comes, on a thread of its own, from now on.
pub(super) fn listen(on_signal: fn(Signal)) -> io::Result<()> {
    let mut signals = Signals::new(SIGNALS.map(|(number, _)| number))?;
    let listen = move || {
        for number in &mut signals {
            SIGNALS.iter().filter(|it| it.0 == number).for_each(|it| on_signal(it.1));
        }
    };
    thread::Builder::new().name("corymb-signals".into()).spawn(listen).map(drop)
}

/// Does what the system does with a signal that nobody handles: ends the process.
pub(super) fn default(signal: Signal) {
    let number = SIGNALS.iter().find(|it| it.1 == signal).map(|it| it.0);
    let _known = number.map(emulate_default_handler);
}
