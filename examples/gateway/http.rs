//! As much of HTTP/1.1 as the example needs, over corymb's streams: `GET`, JSON bodies, and one
//! request for each connection (`Connection: close`), so that a connection that is closed early
//! always means a request that was given up.

use std::fmt;
use std::io;
use std::net::Shutdown;

use corymb::net::TcpStream;
use httparse::Status;
use serde_json::Value;

/// The longest head of a message, and the longest body.
const MAX_HEAD: usize = 16 * 1024;
const MAX_BODY: usize = 1024 * 1024;
const MAX_HEADERS: usize = 64;

/// Why there is no proper message from the peer.
#[derive(Debug)]
pub(crate) enum HttpError {
    Io(io::Error),
    /// It closed the connection in the middle of a message, or before it.
    Closed,
    Malformed(String),
}

impl From<io::Error> for HttpError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<httparse::Error> for HttpError {
    fn from(error: httparse::Error) -> Self {
        Self::malformed(error)
    }
}

impl HttpError {
    fn malformed(what: impl fmt::Display) -> Self {
        Self::Malformed(what.to_string())
    }
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => match error.kind() {
                io::ErrorKind::ConnectionRefused => f.write_str("connection refused"),
                io::ErrorKind::ConnectionReset => f.write_str("connection reset"),
                _ => error.fmt(f),
            },
            Self::Closed => f.write_str("connection closed before the answer"),
            Self::Malformed(what) => write!(f, "malformed answer: {what}"),
        }
    }
}

/// A request, as a server sees it.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: String,
}

/// A message whose body has been read whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Result<Value, HttpError> {
        serde_json::from_slice(&self.body).map_err(HttpError::malformed)
    }
}

/// What a parser has found and how long it is; none if there are too few bytes yet.
type Parsed<T> = Result<Option<(usize, T)>, HttpError>;

/// The bytes that have come so far.
struct Reader<'a> {
    stream: &'a TcpStream,
    bytes: Vec<u8>,
}

impl<'a> Reader<'a> {
    fn new(stream: &'a TcpStream) -> Self {
        Self { stream, bytes: Vec::with_capacity(1024) }
    }

    /// Reads more; false at the end of the stream.
    async fn more(&mut self) -> Result<bool, HttpError> {
        if self.bytes.len() > MAX_HEAD + MAX_BODY {
            return Err(HttpError::malformed("it is too long"));
        }
        let old = self.bytes.len();
        self.bytes.resize(old + 1024, 0);
        let read = self.stream.read(&mut self.bytes[old..]).await;
        self.bytes.truncate(old + *read.as_ref().unwrap_or(&0));
        Ok(read? > 0)
    }

    /// Reads until `parse` finds what it looks for, and takes that away.
    async fn parse<T>(&mut self, parse: impl Fn(&[u8]) -> Parsed<T>) -> Result<T, HttpError> {
        loop {
            if let Some((length, found)) = parse(&self.bytes)? {
                self.bytes.drain(..length);
                return Ok(found);
            }
            if self.bytes.len() > MAX_HEAD {
                return Err(HttpError::malformed("its head is too long"));
            }
            if !self.more().await? {
                return Err(HttpError::Closed);
            }
        }
    }

    /// Takes `length` bytes away.
    async fn take(&mut self, length: usize) -> Result<Vec<u8>, HttpError> {
        if length > MAX_BODY {
            return Err(HttpError::malformed("its body is too long"));
        }
        while self.bytes.len() < length {
            if !self.more().await? {
                return Err(HttpError::Closed);
            }
        }
        let rest = self.bytes.split_off(length);
        Ok(std::mem::replace(&mut self.bytes, rest))
    }

    async fn chunks(&mut self) -> Result<Vec<u8>, HttpError> {
        let mut body = Vec::new();
        loop {
            match self.parse(chunk_size).await? {
                0 => return Ok(body),
                size => body.extend(self.take(size).await?),
            }
            if self.take(2).await? != *b"\r\n" || body.len() > MAX_BODY {
                return Err(HttpError::malformed("bad chunks"));
            }
        }
    }

    async fn rest(&mut self) -> Result<Vec<u8>, HttpError> {
        while self.more().await? {}
        Ok(std::mem::take(&mut self.bytes))
    }
}

fn chunk_size(bytes: &[u8]) -> Parsed<usize> {
    match httparse::parse_chunk_size(bytes) {
        Ok(Status::Complete((length, size))) => {
            Ok(Some((length, usize::try_from(size).unwrap_or(usize::MAX))))
        }
        Ok(Status::Partial) => Ok(None),
        Err(_) => Err(HttpError::malformed("bad chunks")),
    }
}

/// Reads the head of a request.
pub(crate) async fn read_request(stream: &TcpStream) -> Result<Head, HttpError> {
    Reader::new(stream).parse(parse_request).await
}

fn parse_request(bytes: &[u8]) -> Parsed<Head> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let Status::Complete(length) = request.parse(bytes)? else { return Ok(None) };
    let method = request.method.unwrap_or_default().to_owned();
    let target = request.path.unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    Ok(Some((length, Head { method, path: path.to_owned(), query: query.to_owned() })))
}

/// How long the body of an answer is.
enum Length {
    Bytes(usize),
    Chunks,
    ToEnd,
}

/// Sends `GET target`, on a connection that serves for nothing else.
pub(crate) async fn send_request(
    stream: &TcpStream,
    host: &str,
    target: &str,
) -> Result<(), HttpError> {
    let request = format!(
        "GET {target} HTTP/1.1\r\nHost: {host}\r\nAccept: application/json\r\n\
         Connection: close\r\n\r\n"
    );
    Ok(write_all(stream, request.as_bytes()).await?)
}

/// Reads an answer, with its body.
pub(crate) async fn read_answer(stream: &TcpStream) -> Result<Answer, HttpError> {
    let mut reader = Reader::new(stream);
    let (status, length) = reader.parse(parse_answer).await?;
    let body = match length {
        Length::Bytes(length) => reader.take(length).await?,
        Length::Chunks => reader.chunks().await?,
        Length::ToEnd => reader.rest().await?,
    };
    Ok(Answer { status, body })
}

fn parse_answer(bytes: &[u8]) -> Parsed<(u16, Length)> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let Status::Complete(head) = response.parse(bytes)? else { return Ok(None) };
    let length = body_length(response.headers)?;
    Ok(Some((head, (response.code.unwrap_or_default(), length))))
}

fn body_length(headers: &[httparse::Header<'_>]) -> Result<Length, HttpError> {
    let value = |name: &str| {
        headers.iter().find(|header| header.name.eq_ignore_ascii_case(name)).map(|h| h.value)
    };
    if value("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case(b"chunked")) {
        return Ok(Length::Chunks);
    }
    let Some(length) = value("content-length") else { return Ok(Length::ToEnd) };
    let length = str::from_utf8(length).ok().and_then(|text| text.parse().ok());
    length.map(Length::Bytes).ok_or_else(|| HttpError::malformed("bad Content-Length"))
}

/// Asks for `target` and reads the answer.
pub(crate) async fn get(authority: &str, target: &str) -> Result<Answer, HttpError> {
    let stream = TcpStream::connect(authority).await?;
    send_request(&stream, authority, target).await?;
    read_answer(&stream).await
}

/// Sends an answer, and the end of the stream.
pub(crate) async fn respond(stream: &TcpStream, status: u16, body: &[u8]) -> io::Result<()> {
    let reason = match status {
        200 => "OK",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        502 => "Bad Gateway",
        504 => "Gateway Timeout",
        _ => "Internal Server Error",
    };
    let mut message = format!(
        "HTTP/1.1 {status} {reason}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n",
        body.len()
    )
    .into_bytes();
    message.extend_from_slice(body);
    write_all(stream, &message).await?;
    stream.shutdown(Shutdown::Write)
}

async fn write_all(stream: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = stream.write(bytes).await?;
        bytes = &bytes[written..];
    }
    Ok(())
}

/// Waits until the peer has closed its side of the connection. What it sends before is of no
/// interest: there is one request for each connection.
pub(crate) async fn closed(stream: &TcpStream) {
    let mut rest = [0; 64];
    while matches!(stream.read(&mut rest).await, Ok(1..)) {}
}
