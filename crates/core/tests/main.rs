//! The promises of the kernel, a file each.

mod budget;
mod cleanup;
mod common;
mod deadlines;
mod dispatch;
mod dispatcher_drops;
mod grace;
mod handlers;
mod late;
mod local;
mod local_scope;
mod local_scope_unsend;
mod memory;
mod moved;
mod panics;
mod properties;
mod scope_with;
mod scoped;
mod sections;
mod shield;
mod structure;
mod threads;
mod tokens;
mod unconfined;
mod views;
