//! The promises of the kernel, a file each.

mod common;
mod dispatch;
mod handlers;
mod moved;
mod panics;
mod properties;
mod structure;
mod threads;
mod tokens;
mod views;
