//! TCP over loopback: a file for each area of behaviour, in one program.

mod cancel;
mod common;
mod listener;
mod split;
mod stream;

const fn assert_send_sync<T: Send + Sync>() {}
const _: () = assert_send_sync::<corymb_net::TcpStream>();
const _: () = assert_send_sync::<corymb_net::TcpListener>();
const _: () = assert_send_sync::<corymb_net::OwnedReadHalf>();
const _: () = assert_send_sync::<corymb_net::OwnedWriteHalf>();
const _: () = assert_send_sync::<corymb_net::Incoming<'static>>();
