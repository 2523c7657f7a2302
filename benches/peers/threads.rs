//! Threads of the system, by `std` alone: what coroutines are there to be cheaper than.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use corymb_harness::measure::{Countdown, RUSTC};
use corymb_harness::sizes::{Draw, ECHO_BYTES, SCOPE_CHILDREN, SLEEP, SPAWN_BATCH, sum_below};
use smol::future::block_on;

use crate::workloads::{Peer, is_corymbs_own};

pub(crate) struct Threads;

impl Peer for Threads {
    fn version() -> String {
        format!("std of Rust {}", RUSTC)
    }

    fn lacks(&self, workload: &str) -> Option<&'static str> {
        match workload {
            "timeout_ready" | "timeout_yield" | "timeout_wake" => {
                Some("a thread has no timeout around arbitrary work")
            }
            "hop" | "hop_in_place" => Some("a thread may block where it is"),
            "cancel_tree" | "cancel_scope" => Some("a thread cannot be cancelled"),
            _ if is_corymbs_own(workload) => Some("only corymb has it"),
            _ => None,
        }
    }

    fn part(workload: &str) -> usize {
        match workload {
            "spawn_burst" | "million_sleepers" => 100,
            _ => 50,
        }
    }

    fn on_worker<F>(&self, body: F) -> F::Output
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        thread::spawn(|| block_on(body)).join().expect(FINE)
    }

    async fn spawn_join(n: usize) -> Duration {
        let t = Instant::now();
        let mut sum = 0;
        let mut handles = Vec::with_capacity(SPAWN_BATCH);
        for batch in 0..n / SPAWN_BATCH {
            for i in 0..SPAWN_BATCH {
                let x = (batch * SPAWN_BATCH + i) as u64;
                handles.push(thread::spawn(move || x));
            }
            sum += handles.drain(..).map(|handle| handle.join().expect(FINE)).sum::<u64>();
        }
        assert_eq!(sum, sum_below(n as u64));
        t.elapsed()
    }

    async fn spawn_burst(n: usize) -> Duration {
        let t = Instant::now();
        let (last, done) = Last::of(n);
        for _ in 0..n {
            let last = last.clone();
            thread::spawn(move || last.one());
        }
        done.recv().expect(FINE);
        t.elapsed()
    }

    async fn yields(tasks: usize, each: usize) -> Duration {
        let t = Instant::now();
        thread::scope(|s| {
            for _ in 0..tasks {
                s.spawn(|| (0..each).for_each(|_| thread::yield_now()));
            }
        });
        t.elapsed()
    }

    async fn ping_pong(n: usize) -> Duration {
        let t = Instant::now();
        let (ping, pinged) = sync_channel(1);
        let (pong, ponged) = sync_channel(1);
        thread::scope(|s| {
            s.spawn(move || {
                for i in 0..n {
                    ping.send(i).expect(FINE);
                    assert_eq!(ponged.recv(), Ok(i));
                }
            });
            s.spawn(move || {
                for _ in 0..n {
                    let x = pinged.recv().expect(FINE);
                    pong.send(x).expect(FINE);
                }
            });
        });
        t.elapsed()
    }

    async fn skynet(leaves: u64) -> Duration {
        let t = Instant::now();
        let sum = thread::spawn(move || node(0, leaves)).join().expect(FINE);
        assert_eq!(sum, sum_below(leaves));
        t.elapsed()
    }

    async fn scope(n: usize) -> Duration {
        let t = Instant::now();
        for _ in 0..n {
            let sum: u64 = thread::scope(|s| {
                let children: [_; SCOPE_CHILDREN] =
                    std::array::from_fn(|i| s.spawn(move || i as u64));
                children.into_iter().map(|child| child.join().expect(FINE)).sum()
            });
            assert_eq!(sum, sum_below(SCOPE_CHILDREN as u64));
        }
        t.elapsed()
    }

    async fn scope_vec(n: usize) -> Duration {
        let t = Instant::now();
        for _ in 0..n {
            let children: [_; SCOPE_CHILDREN] =
                std::array::from_fn(|i| thread::spawn(move || i as u64));
            assert_eq!(total(children), sum_below(SCOPE_CHILDREN as u64));
        }
        t.elapsed()
    }

    #[expect(clippy::disallowed_methods, reason = "threads that sleep are what is measured")]
    async fn million_sleepers(n: usize) -> Duration {
        let t = Instant::now();
        let (last, done) = Last::of(n);
        for _ in 0..n {
            let last = last.clone();
            thread::spawn(move || {
                thread::sleep(SLEEP);
                last.one();
            });
        }
        done.recv().expect(FINE);
        t.elapsed()
    }

    async fn timers_churn(tasks: usize, sleeps: usize) -> (Duration, Duration) {
        let t = Instant::now();
        let threads: Vec<_> =
            (0..tasks).map(|task| thread::spawn(move || churn(task, sleeps))).collect();
        let late = threads.into_iter().map(|thread| thread.join().expect(FINE)).sum();
        (late, t.elapsed())
    }

    fn serve(&self, ready: impl FnOnce(u16) + Send + 'static) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        ready(listener.local_addr().expect("it is bound").port());
        for socket in listener.incoming() {
            let socket = socket.expect("the listener is open");
            socket.set_nodelay(true).expect("the socket is open");
            thread::spawn(|| serve(socket));
        }
    }
}

const FINE: &str = "nothing fails here";

/// Counts threads down; the last one wakes who waits for all.
struct Last(Countdown, Sender<()>);

impl Last {
    fn of(n: usize) -> (Arc<Self>, Receiver<()>) {
        let (done, all) = channel();
        (Arc::new(Self(Countdown::new(n), done)), all)
    }

    fn one(&self) {
        if self.0.done() {
            self.1.send(()).expect(FINE);
        }
    }
}

/// A node of skynet.
fn node(base: u64, size: u64) -> u64 {
    if size == 1 {
        return base;
    }
    let sub = size / 10;
    total::<10>(std::array::from_fn(|i| thread::spawn(move || node(base + i as u64 * sub, sub))))
}

fn total<const N: usize>(threads: [thread::JoinHandle<u64>; N]) -> u64 {
    threads.into_iter().map(|thread| thread.join().expect(FINE)).sum()
}

/// Sleeps one time after the other; gives how late it woke.
#[expect(clippy::disallowed_methods, reason = "threads that sleep are what is measured")]
fn churn(task: usize, sleeps: usize) -> Duration {
    let mut draw = Draw::new(task);
    let mut late = Duration::ZERO;
    for _ in 0..sleeps {
        let asked = draw.sleep();
        let from = Instant::now();
        thread::sleep(asked);
        late += from.elapsed().saturating_sub(asked);
    }
    late
}

fn serve(mut socket: TcpStream) {
    let mut buf = [0; ECHO_BYTES];
    while let Ok(n @ 1..) = socket.read(&mut buf) {
        if socket.write_all(&buf[..n]).is_err() {
            break;
        }
    }
}
