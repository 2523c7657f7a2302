//! Every scenario under every executor: corymb's pool and its runtime for tests, those of other
//! crates, and a thread for each task.
//!
//! A scenario is a line in `under!`, and an executor one of its calls.
#![cfg(not(loom))]
#![expect(clippy::print_stderr, reason = "a test that is left out says so")]

mod barrier;
mod broadcast;
mod channel;
mod condvar;
mod executors;
mod kept;
mod latch;
mod mutex;
mod notify;
mod once_cell;
mod oneshot;
mod rate_limiter;
mod rwlock;
mod select;
mod semaphore;
mod waits;
mod watch;

use executors::{Executor, Tasks};

/// What miri can do in its time.
const fn times(n: usize) -> usize {
    if cfg!(miri) { n.div_ceil(60) } else { n }
}

/// Runs a scenario, whatever it is.
fn run<E: Executor, F>(_name: &str, scenario: impl FnOnce(Tasks) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    executors::run::<E, F>(scenario);
}

/// Runs a scenario in which an offer is not taken by one task, and another one waits for it.
fn run_if_it_lets_go<E: Executor, F>(name: &str, scenario: impl FnOnce(Tasks) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    match E::LETS_GO {
        true => run::<E, F>(name, scenario),
        false => eprintln!("{name}: left out, the executor does not tell the end of a poll"),
    }
}

/// Runs a scenario that needs the global runtime's clock where there is no other.
fn run_with_a_clock<E: Executor, F>(name: &str, scenario: impl FnOnce(Tasks) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    match cfg!(miri) {
        false => run::<E, F>(name, scenario),
        true => eprintln!("{name}: left out, miri has no reactor"),
    }
}

macro_rules! under {
    ($executor:ident as $module:ident) => {
        under! { $executor as $module:
            run {
                channel::one_to_one
                channel::many_to_many
                channel::receives_given_up
                channel::sends_given_up
                channel::closed_while_receivers_wait
                channel::closed_while_senders_wait
                channel::senders_are_served_in_order
                channel::senders_nobody_receives_from
                channel::receivers_all_get_one
                oneshot::there_and_back
                oneshot::gone
                mutex::counter
                mutex::locks_given_up
                mutex::in_order
                semaphore::permits_are_conserved
                semaphore::permits_in_order
                semaphore::a_semaphore_that_grows
                semaphore::a_semaphore_closed_while_tasks_wait
                rwlock::readers_and_writers
                rwlock::writers_given_up
                rwlock::readers_behind_a_writer
                notify::a_queue_with_notifications
                notify::notifications_in_order
                notify::a_notification_of_all
                condvar::a_bounded_buffer
                condvar::conditions_in_order
                barrier::rounds
                latch::a_wait_group
                once_cell::initialisers_given_up
                once_cell::an_initialiser_of_all
                watch::each_sees_the_last
                watch::a_value_that_is_waited_for
                watch::senders_nobody_watches
                broadcast::all_get_all
                broadcast::what_is_lost_is_counted
                broadcast::senders_nobody_hears
                select::two_channels
                select::sends_that_lose
                kept::a_receive_beside_another_of_its_task
                kept::a_lock_beside_another_of_its_task
                kept::a_latch_in_another_task
                kept::a_watch_in_another_task
                kept::a_broadcast_in_another_task
            }
            run_with_a_clock {
                rate_limiter::a_rate
            }
            run_if_it_lets_go {
                kept::a_receive_in_another_task
                kept::a_lock_in_another_task
                kept::a_permit_in_another_task
                kept::a_writer_in_another_task
                kept::a_notified_one_in_another_task
                kept::a_condition_in_another_task
                kept::an_initialiser_in_another_task
            }
        }
    };
    ($executor:ident as $module:ident: $($how:ident { $($topic:ident::$scenario:ident)* })*) => {
        mod $module {
            $($(
                #[test]
                fn $scenario() {
                    under!(@ $how, $executor, $topic::$scenario);
                }
            )*)*
        }
    };
    (@ $how:ident, $executor:ident, $topic:ident::$scenario:ident) => {
        crate::$how::<crate::executors::$executor, _>(
            concat!(stringify!($topic), "::", stringify!($scenario)),
            crate::$topic::$scenario,
        );
    };
}

#[cfg(not(miri))] // It has no reactor.
under!(Pool as pool);
under!(Virtual as virtual_time);
#[cfg(not(miri))] // It needs minutes for the threads.
under!(Tokio as tokio_threads);
under!(TokioLocal as tokio_local);
#[cfg(not(miri))] // It has no reactor.
under!(Smol as smol_threads);
under!(Threads as bare_threads);
