//! The promises of the kernel, a file each.

mod budget;
mod common;
mod dispatch;
mod dispatcher_drops;
mod handlers;
mod late;
mod local;
mod memory;
mod moved;
mod panics;
mod properties;
mod sections;
mod shield;
mod structure;
mod threads;
mod tokens;
mod unconfined;
mod views;
