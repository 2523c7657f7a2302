//! Measures corymb beside its peers, those in other languages too, and charts what it finds.
//!
//!     cargo run --release -p corymb-lab -- compare --quick
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "that is what the lab is for")]

use std::process::ExitCode;

#[cfg(target_os = "linux")]
mod lab;

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    lab::main()
}

#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    eprintln!("the lab needs Linux: it reads memory and processor time from /proc");
    ExitCode::from(2)
}
