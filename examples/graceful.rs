//! A server that Ctrl-C ends in order: what is in flight is answered, then the pool is closed, and
//! the log last.
//!
//! ```text
//! cargo run --example graceful
//! cargo run --example graceful -- --requests 500 --hang 20
//! ```
//!
//! No line of it waits for anybody. The requests are children of the server's scope, and each is
//! behind a `soft_shield`: it goes on until it is answered, or the grace is over. What they need is
//! a service of that scope, so it ends after them.

#![forbid(unsafe_code)]

use std::future::pending;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use corymb::prelude::*;
use corymb::sync::channel::{self, Receiver, Sender};

const USAGE: &str = "usage: graceful [--requests N] [--hang N]\n  \
    --requests N  so many requests that are answered 100 ms after Ctrl-C (500)\n  \
    --hang N      so many that are never answered (0)";

#[corymb::main(grace = "2s")]
async fn main() -> ExitCode {
    let Some(load) = Load::parse(std::env::args().skip(1)) else {
        put(USAGE);
        return ExitCode::from(2);
    };
    // It serves until Ctrl-C drops it.
    scope(async |s| serve(&s, load).await).await;
    ExitCode::SUCCESS
}

async fn serve(s: &Scope, load: Load) {
    let (log, lines) = channel::bounded(64);
    // Services end after all others, the last one first: the pool, then the log.
    s.service(shield(write(lines)));
    let pool = Arc::new(Pool { log: log.clone(), queries: AtomicUsize::new(0) });
    s.service(finally(pending(), {
        let pool = Arc::clone(&pool);
        move || async move { pool.close().await }
    }));

    let (begun, in_flight) = channel::bounded(1);
    for number in 0..load.requests + load.hang {
        let request = Request { number, pool: Arc::clone(&pool), hangs: number >= load.requests };
        let begun = begun.clone();
        s.coroutine().name(format!("request {number}")).launch(soft_shield(async move {
            begun.send(()).await.expect("the server is there");
            request.answer().await;
        }));
    }
    for _ in 0..load.requests + load.hang {
        in_flight.recv().await.expect("a request that has not begun");
    }
    say(&log, "ready".into()).await;
    drop(log);
    drop(pool);
    pending::<()>().await;
}

/// A long poll: it is answered when there is news, and here that is the end of the server.
struct Request {
    number: usize,
    pool: Arc<Pool>,
    hangs: bool,
}

impl Request {
    async fn answer(self) {
        if self.hangs {
            pending::<()>().await;
        }
        cancelled().await;
        self.pool.query().await;
        say(&self.pool.log, format!("request {} answered", self.number)).await;
    }
}

/// Stands for a pool of connections.
struct Pool {
    log: Sender<String>,
    queries: AtomicUsize,
}

impl Pool {
    async fn query(&self) {
        sleep(Duration::from_millis(100)).await;
        self.queries.fetch_add(1, Ordering::Relaxed);
    }

    async fn close(&self) {
        let queries = self.queries.load(Ordering::Relaxed);
        say(&self.log, format!("pool closed after {queries} queries")).await;
    }
}

async fn say(log: &Sender<String>, line: String) {
    log.send(line).await.expect("the log is closed last");
}

/// Writes the log. It ends when nobody is left who could add to it.
async fn write(lines: Receiver<String>) {
    let mut count = 0;
    while let Ok(line) = lines.recv().await {
        count += 1;
        put(&line);
    }
    put(&format!("log closed after {count} lines"));
}

fn put(line: &str) {
    // Whoever reads it may be gone.
    let _written = writeln!(io::stdout().lock(), "{line}");
}

/// What the server has to do.
struct Load {
    requests: usize,
    hang: usize,
}

impl Load {
    fn parse(mut args: impl Iterator<Item = String>) -> Option<Self> {
        let mut load = Self { requests: 500, hang: 0 };
        while let Some(option) = args.next() {
            let value = args.next()?.parse().ok()?;
            match &*option {
                "--requests" => load.requests = value,
                "--hang" => load.hang = value,
                _ => return None,
            }
        }
        Some(load)
    }
}
