//! A program with an event loop of its own, which serves `Dispatcher::Main`.
//!
//! The loop is that of `calloop`, without a window: it stands for the one of a toolkit, which owns
//! the main thread and takes messages from others. Coroutines show their progress on it, and do
//! what blocks elsewhere.
//!
//! ```text
//! cargo run --example event_loop
//! ```

#![expect(clippy::print_stdout, reason = "it shows what it does")]

use std::error::Error;
use std::thread;
use std::time::Duration;

use calloop::EventLoop;
use calloop::channel::{Event, channel};
use corymb::prelude::*;
use corymb::{Coroutine, Main};

/// What the program shows, and the loop's thread alone may touch.
#[derive(Default)]
struct Window {
    polls: usize,
}

/// Loads something, which blocks, and shows each part of it on Main.
async fn load(main: thread::ThreadId) -> usize {
    let mut total = 0;
    for part in 1..=3 {
        assert_eq!(thread::current().id(), main);
        let (bytes, loader) = blocking(|| {
            let file = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"));
            (file.map_or(0, |bytes| bytes.len()), thread::current().id())
        })
        .await;
        assert_ne!(loader, main, "what blocks does not hold up the loop");
        assert_eq!(thread::current().id(), main, "and the coroutine is back on it");
        total += bytes;
        println!("part {part}: {bytes} bytes");
        sleep(Duration::from_millis(5)).await;
    }
    total
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut event_loop = EventLoop::<Window>::try_new()?;
    let stop = event_loop.get_signal();
    let (proxy, coroutines) = channel::<Coroutine>();
    event_loop.handle().insert_source(coroutines, |event, (), window| {
        if let Event::Msg(coroutine) = event {
            window.polls += 1;
            coroutine.run();
        }
    })?;
    // One that the loop takes no more is dropped, and so cancelled.
    Main::install(move |coroutine| drop(proxy.send(coroutine)))?;

    let main = thread::current().id();
    let program = detached(async move {
        assert_ne!(thread::current().id(), main);
        let total = with_context(Dispatcher::Main, load(main)).await;
        assert_ne!(thread::current().id(), main);
        stop.stop();
        stop.wakeup();
        total
    });
    let mut window = Window::default();
    event_loop.run(None, &mut window, |_| ())?;

    let total = run_blocking(program);
    println!("{total} bytes, shown in {} polls on the main thread", window.polls);
    assert!(total > 0 && window.polls >= 6);
    Ok(())
}
