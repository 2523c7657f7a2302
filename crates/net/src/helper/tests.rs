//! In one test, since the threads are the process's.

use std::panic::{Location, catch_unwind};
use std::sync::mpsc;

use futures::executor::block_on;

use super::{THREADS, run};

#[test]
fn calls_are_bounded_queued_dropped_and_may_panic() {
    let place = Location::caller();
    let (began, begins) = mpsc::channel();
    let gates: Vec<_> = (0..THREADS)
        .map(|index| {
            let (open, gate) = mpsc::channel::<()>();
            let began = began.clone();
            let answer = run(place, move || {
                began.send(index).unwrap();
                gate.recv().unwrap_err();
                index
            });
            (open, answer.unwrap())
        })
        .collect();
    let mut occupied: Vec<_> = begins.iter().take(THREADS).collect();
    occupied.sort_unstable();
    assert!(occupied.into_iter().eq(0..THREADS), "as many run at a time as there are threads");

    // All threads are occupied: these queue, and one is dropped before its turn.
    let dropped = run(place, {
        let began = began.clone();
        move || began.send(usize::MAX).unwrap()
    });
    let queued = run(place, move || began.send(THREADS).unwrap());
    drop(dropped);
    assert!(begins.try_recv().is_err(), "a queued call ran beyond the bound");

    for (index, (open, answer)) in gates.into_iter().enumerate() {
        drop(open);
        assert_eq!(block_on(answer), index);
    }
    block_on(queued.unwrap());
    assert_eq!(begins.iter().collect::<Vec<_>>(), [THREADS], "the dropped call never ran");

    // A panic goes to whoever waits, and costs no thread.
    for _ in 0..=THREADS {
        let call = run(place, || -> () { panic!("on purpose") }).unwrap();
        let panic = catch_unwind(|| block_on(call)).unwrap_err();
        assert_eq!(panic.downcast_ref(), Some(&"on purpose"));
    }
    assert_eq!(block_on(run(place, || 7).unwrap()), 7);
}
