//! The promises of the kernel, a file each.

mod budget;
mod cleanup;
mod common;
mod dispatch;
mod group;
mod handlers;
mod joining;
mod late;
mod lazy;
mod limit;
mod local;
mod memory;
mod moved;
mod panics;
mod promise;
mod properties;
mod sections;
mod services;
mod shield;
mod structure;
mod threads;
mod tokens;
mod unconfined;
mod undispatched;
mod views;
