//! The two directions of a connection in two tasks.

use crate::common::{pair, run};
use futures::executor::ThreadPool;
use futures::task::SpawnExt;
use futures::{AsyncReadExt, AsyncWriteExt};

#[test]
fn owned_halves_work_on_different_threads() {
    run(async |_| {
        let pool = ThreadPool::builder().pool_size(3).create().unwrap();
        let (near, far) = pair().await;
        let (mut near_reader, mut near_writer) = near.into_split();
        let (far_reader, mut far_writer) = far.into_split();
        let echo = pool
            .spawn_with_handle(async move {
                futures::io::copy(far_reader, &mut far_writer).await.unwrap();
            })
            .unwrap();
        let sender = pool
            .spawn_with_handle(async move {
                for chunk in 0..100_u8 {
                    near_writer.write_all(&[chunk; 10_000]).await.unwrap();
                }
            })
            .unwrap();
        let receiver = pool
            .spawn_with_handle(async move {
                let mut received = Vec::new();
                near_reader.read_to_end(&mut received).await.unwrap();
                received
            })
            .unwrap();
        // The sender drops its half, which ends the echo, whose half ends the receiver.
        let ((), (), received) = futures::join!(sender, echo, receiver);
        let expected: Vec<u8> = (0..100_u8).flat_map(|chunk| [chunk; 10_000]).collect();
        assert!(received == expected, "the bytes differ");
    });
}

#[test]
fn dropping_the_write_half_ends_the_stream() {
    run(async |_| {
        let (near, far) = pair().await;
        let (mut reader, writer) = near.into_split();
        let mut buffer = [0; 8];
        drop(writer);
        assert_eq!(far.read(&mut buffer).await.unwrap(), 0);
        far.write(b"still").await.unwrap();
        assert_eq!(reader.read(&mut buffer).await.unwrap(), 5);
    });
}

#[test]
fn reunited_halves_are_the_stream() {
    run(async |_| {
        let (near, far) = pair().await;
        let (reader, writer) = near.into_split();
        let near = reader.reunite(writer).unwrap();
        // Reuniting has shut nothing down.
        near.write(b"on").await.unwrap();
        let mut buffer = [0; 8];
        assert_eq!(far.read(&mut buffer).await.unwrap(), 2);
    });
}

#[test]
fn halves_of_different_streams_are_given_back() {
    run(async |_| {
        let ((near, _far), (other, _away)) = (pair().await, pair().await);
        let (reader, writer) = near.into_split();
        let (other_reader, other_writer) = other.into_split();
        let error = reader.reunite(other_writer).unwrap_err();
        assert_eq!(error.to_string(), "the halves are not of the same stream");
        let (reader, other_writer) = (error.0, error.1);
        drop(writer.reunite(reader).unwrap());
        drop(other_writer.reunite(other_reader).unwrap());
    });
}
