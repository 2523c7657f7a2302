//! Faults of concurrent programs, each with its correction: an explorer of schedules has to find the
//! one, and nothing in the other.
//!
//! Each file is a program; `fixed` says which of the two it is.

mod aba;
mod back_off;
mod barging;
mod barrier_reuse;
mod cache_stampede;
mod dining;
mod double_return;
mod early_timer;
mod event_too_early;
mod full_channels;
mod futurelock;
mod harness;
mod join_under_lock;
mod last_item;
mod leaked_child;
mod livelock;
mod lock_order;
mod lost_cancellation;
mod lost_notification;
mod lost_update;
mod once_init;
mod oversold;
mod partial_acquire;
mod partial_read;
mod recursive_read;
mod responses_by_position;
mod shutdown;
mod stale_config;
mod stolen_wakeup;
mod torn_transfer;
mod two_phase;
mod wait_group;

use harness::corpus;

corpus! {
    aba: Panic, "was handed out twice";
    back_off: Livelock, "livelock";
    barging: Panic, "more at once than there are permits";
    barrier_reuse: Deadlock, "deadlock";
    cache_stampede: Panic, "the same page was loaded twice";
    dining: Deadlock, "deadlock";
    double_return: Panic, "1 more permits than the 2 there can be";
    early_timer: Panic, "charged, and told that it failed";
    event_too_early: Deadlock, "deadlock";
    full_channels: Deadlock, "deadlock";
    futurelock: Deadlock, "deadlock";
    join_under_lock: Deadlock, "deadlock";
    last_item: Panic, "jobs were left behind";
    leaked_child: Leak, "still alive";
    livelock: Livelock, "livelock";
    lock_order: Deadlock, "deadlock";
    lost_cancellation: Deadlock, "deadlock";
    lost_notification: Deadlock, "deadlock";
    lost_update: Panic, "an update is lost";
    once_init: Panic, "initialised twice";
    oversold: Panic, "sold more than there was";
    partial_acquire: Deadlock, "deadlock";
    partial_read: Panic, "a body without its header";
    recursive_read: Deadlock, "deadlock";
    responses_by_position: Panic, "the answer to another question";
    shutdown: Panic, "accepted, and never handled";
    stale_config: Panic, "signed with a revoked key";
    stolen_wakeup: Panic, "woken, and nothing there";
    torn_transfer: Panic, "money went missing";
    two_phase: Panic, "the books do not balance";
    wait_group: Panic, "not all parts were there";
}
