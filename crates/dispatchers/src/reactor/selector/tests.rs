//! Both ways of waiting keep the same promises.

use std::time::{Duration, Instant};

use super::poller;

/// What every selector promises, as tests of the module `$name`.
macro_rules! promises {
    ($name:ident) => {
        mod $name {
            use super::super::$name::{Batch, Selector};
            use super::*;

            #[test]
            fn a_notification_ends_the_next_wait_and_only_that() {
                let poller = poller().unwrap();
                let selector = Selector::new(&poller).unwrap();
                let mut batch = Batch::new();
                for _ in 0..3 {
                    selector.notify(&poller);
                    selector.notify(&poller);
                    selector.wait(&poller, &mut batch, None).unwrap();
                    assert_eq!(batch.iter().count(), 0);
                }
                let begin = Instant::now();
                selector.wait(&poller, &mut batch, Some(Duration::from_millis(5))).unwrap();
                assert!(begin.elapsed() >= Duration::from_millis(5), "woken without a reason");
            }

            #[test]
            fn a_notification_ends_the_wait_in_progress() {
                let poller = poller().unwrap();
                let selector = Selector::new(&poller).unwrap();
                std::thread::scope(|threads| {
                    threads.spawn(|| selector.wait(&poller, &mut Batch::new(), None).unwrap());
                    selector.notify(&poller);
                });
            }

            #[test]
            fn timeouts_follow_each_other() {
                let poller = poller().unwrap();
                let selector = Selector::new(&poller).unwrap();
                let mut batch = Batch::new();
                for micros in [100, 3_000, 50, 0, 1_000] {
                    let timeout = Duration::from_micros(micros);
                    let begin = Instant::now();
                    selector.wait(&poller, &mut batch, Some(timeout)).unwrap();
                    assert!(begin.elapsed() >= timeout, "returned early without a reason");
                }
            }

            #[test]
            fn an_earlier_timeout_replaces_a_later_one() {
                let poller = poller().unwrap();
                let selector = Selector::new(&poller).unwrap();
                let mut batch = Batch::new();
                selector.notify(&poller);
                selector.wait(&poller, &mut batch, Some(Duration::from_secs(3_600))).unwrap();
                selector.wait(&poller, &mut batch, Some(Duration::from_millis(1))).unwrap();
            }

            #[test]
            fn the_longest_timeout_is_never() {
                let poller = poller().unwrap();
                let selector = Selector::new(&poller).unwrap();
                selector.notify(&poller);
                selector.wait(&poller, &mut Batch::new(), Some(Duration::MAX)).unwrap();
            }
        }
    };
}

#[cfg(any(target_os = "linux", target_os = "android"))]
promises!(linux);
promises!(portable);
