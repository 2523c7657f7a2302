//! Every scenario under every executor: corymb's pool and its runtime for tests, those of other
//! crates, and a thread for each task.
//!
//! A scenario is a line in `under!`, and an executor one of its calls.
#![cfg(not(loom))]
#![expect(clippy::print_stderr, reason = "a test that is left out says so")]

mod channel;
mod executors;
mod kept;
mod mutex;
mod oneshot;

use executors::{Executor, run};

/// What miri can do in its time.
const fn times(n: usize) -> usize {
    if cfg!(miri) { n.div_ceil(60) } else { n }
}

/// Runs a scenario in which an offer is not taken by one task, and another one waits for it.
fn run_if_it_lets_go<E: Executor, F>(name: &str, scenario: impl FnOnce(executors::Tasks) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    match E::LETS_GO {
        true => run::<E, F>(scenario),
        false => eprintln!("{name}: left out, the executor does not tell the end of a poll"),
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
                channel::receivers_all_get_one
                oneshot::there_and_back
                oneshot::gone
                mutex::counter
                mutex::locks_given_up
                mutex::in_order
                kept::a_receive_beside_another_of_its_task
                kept::a_lock_beside_another_of_its_task
            }
            run_if_it_lets_go {
                kept::a_receive_in_another_task
                kept::a_lock_in_another_task
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
    (@ run, $executor:ident, $topic:ident::$scenario:ident) => {
        crate::run::<crate::executors::$executor, _>(crate::$topic::$scenario);
    };
    (@ run_if_it_lets_go, $executor:ident, $topic:ident::$scenario:ident) => {
        crate::run_if_it_lets_go::<crate::executors::$executor, _>(
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
