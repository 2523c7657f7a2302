//! The load of `tcp_echo`, the same for all servers, each of which is in a process of its own.
//!
//! The load is one thread with one epoll. Each connection sends 64 bytes, waits until all of them
//! are back, notes the round trip and sends again.

use std::io::{self, ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use corymb_harness::Numbers;
use corymb_harness::measure::{count, cpu_seconds_of, nanos};
use corymb_harness::sizes::ECHO_BYTES;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

/// What the load is told.
pub(crate) struct Load {
    pub(crate) connections: usize,
    pub(crate) warm: Duration,
    pub(crate) measured: Duration,
}

/// Loads the server at `port`, which is process `pid`.
///
/// # Errors
///
/// Those of the sockets.
pub(crate) fn load(load: &Load, port: u16, pid: u32) -> io::Result<Numbers> {
    let mut poll = Poll::new()?;
    let mut connections = Vec::with_capacity(load.connections);
    for i in 0..load.connections {
        let mut connection = Connection::open(port)?;
        poll.registry().register(&mut connection.stream, Token(i), Interest::READABLE)?;
        connection.send()?;
        connections.push(connection);
    }
    drive(&mut poll, &mut connections, load.warm)?;

    let cpu = || (cpu_seconds_of(pid), cpu_seconds_of(std::process::id()));
    let (server, own) = cpu();
    let t = Instant::now();
    let round_trips = drive(&mut poll, &mut connections, load.measured)?;
    let wall = t.elapsed();
    let (server_after, own_after) = cpu();
    Ok(numbers(round_trips, wall, server_after - server, own_after - own))
}

fn numbers(mut round_trips: Vec<Duration>, wall: Duration, server: f64, own: f64) -> Numbers {
    round_trips.sort_unstable();
    let n = round_trips.len();
    let per_mille = |p: usize| nanos(round_trips[n.saturating_sub(1) * p / 1_000]) / 1e3;
    let mut numbers = Numbers::of(n, vec![nanos(wall) / count(n)]);
    for (name, p) in [("p50_us", 500), ("p99_us", 990), ("p999_us", 999), ("max_us", 1_000)] {
        numbers.add(name, per_mille(p));
    }
    numbers.add("server_cpu_ns_per_op", server * 1e9 / count(n));
    numbers.add("client_cpu_ns_per_op", own * 1e9 / count(n));
    numbers
}

/// Keeps every connection busy for `time`; gives the round trips.
fn drive(
    poll: &mut Poll,
    connections: &mut [Connection],
    time: Duration,
) -> io::Result<Vec<Duration>> {
    let mut events = Events::with_capacity(connections.len());
    let mut round_trips = Vec::with_capacity(1 << 20);
    let end = Instant::now() + time;
    while Instant::now() < end {
        poll.poll(&mut events, Some(Duration::from_millis(100)))?;
        for event in &events {
            let connection = &mut connections[event.token().0];
            if let Some(took) = connection.receive()? {
                round_trips.push(took);
                connection.send()?;
            }
        }
    }
    Ok(round_trips)
}

struct Connection {
    stream: TcpStream,
    sent: Instant,
    received: usize,
}

impl Connection {
    fn open(port: u16) -> io::Result<Self> {
        let stream = std::net::TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Self { stream: TcpStream::from_std(stream), sent: Instant::now(), received: 0 })
    }

    fn send(&mut self) -> io::Result<()> {
        self.sent = Instant::now();
        self.received = 0;
        // One message is on its way at a time, so the socket always has room.
        self.stream.write_all(&[7; ECHO_BYTES])
    }

    /// Reads what came; the round trip, once all of the message is back. Readiness is told once
    /// for each arrival; after a whole message nothing more is due, so that one read is enough
    /// unless the message comes in parts.
    fn receive(&mut self) -> io::Result<Option<Duration>> {
        let mut buf = [0; ECHO_BYTES];
        while self.received < ECHO_BYTES {
            match self.stream.read(&mut buf[self.received..]) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(n) if buf[self.received..][..n].iter().all(|byte| *byte == 7) => {
                    self.received += n;
                }
                Ok(_) => return Err(ErrorKind::InvalidData.into()),
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(e) => return Err(e),
            }
        }
        Ok(Some(self.sent.elapsed()))
    }
}
