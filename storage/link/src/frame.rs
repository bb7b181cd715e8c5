//! Frames: four bytes of length, big endian, then one MessagePack message. A frame is never longer than
//! [`SERVED_FRAME_BYTES_MAX`], and memory for it is taken only as its bytes arrive.

use std::io;

use bytes::{Buf, Bytes, BytesMut};
use serde::Serialize;
use serde::de::DeserializeOwned;
use steward_types::limits::SERVED_FRAME_BYTES_MAX;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt};

const LENGTH_BYTES: usize = 4;
/// How much is asked of the connection at a time.
const READ_BYTES: usize = 64 << 10;

/// What is wrong with a frame.
#[derive(Debug, Error)]
pub enum FrameError {
    /// Longer than a frame may be.
    #[error("a frame of {bytes} bytes is over the limit of {limit}")]
    TooLarge {
        /// Its bytes.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// Not a message of this protocol.
    #[error("not a message of this protocol: {0}")]
    Malformed(String),
    /// The connection broke.
    #[error("the connection broke")]
    Io(#[source] io::Error),
}

/// Appends a message as a frame to `frames`; on an error nothing is appended.
pub(crate) fn append<T: Serialize>(message: &T, frames: &mut Vec<u8>) -> Result<(), FrameError> {
    let start = frames.len();
    frames.extend_from_slice(&[0; LENGTH_BYTES]);
    let encoded = rmp_serde::encode::write(frames, message);
    let bytes = frames.len() - start - LENGTH_BYTES;
    let outcome = match (encoded, u32::try_from(bytes)) {
        (Ok(()), Ok(length)) if bytes <= SERVED_FRAME_BYTES_MAX => {
            frames[start..start + LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
            return Ok(());
        }
        (Ok(()), _) => FrameError::TooLarge { bytes, limit: SERVED_FRAME_BYTES_MAX },
        (Err(error), _) => FrameError::Malformed(error.to_string()),
    };
    frames.truncate(start);
    Err(outcome)
}

/// The message of a frame.
pub(crate) fn decode<T: DeserializeOwned>(frame: &[u8]) -> Result<T, FrameError> {
    rmp_serde::from_slice(frame).map_err(|error| FrameError::Malformed(error.to_string()))
}

/// Cuts what arrives into frames.
#[derive(Debug)]
pub(crate) struct FrameReader<R> {
    source: R,
    buffer: BytesMut,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// Reads from `source`.
    pub(crate) fn new(source: R) -> Self {
        Self { source, buffer: BytesMut::new() }
    }

    /// The next frame; `None` at the end of the connection. Dropping the future loses nothing.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, FrameError> {
        loop {
            if let Some(frame) = self.buffered()? {
                return Ok(Some(frame));
            }
            self.buffer.reserve(READ_BYTES);
            if self.source.read_buf(&mut self.buffer).await.map_err(FrameError::Io)? == 0 {
                let cut = || FrameError::Io(io::ErrorKind::UnexpectedEof.into());
                return if self.buffer.is_empty() { Ok(None) } else { Err(cut()) };
            }
        }
    }

    /// The next message, where the end of the connection is an error.
    pub(crate) async fn expect<T: DeserializeOwned>(&mut self) -> Result<T, FrameError> {
        let ended = || FrameError::Io(io::ErrorKind::UnexpectedEof.into());
        decode(&self.next().await?.ok_or_else(ended)?)
    }

    /// The next frame, if it arrived already.
    pub(crate) fn buffered(&mut self) -> Result<Option<Bytes>, FrameError> {
        let Some(length) = self.buffer.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
        let bytes = u32::from_be_bytes(*length) as usize;
        if bytes > SERVED_FRAME_BYTES_MAX {
            return Err(FrameError::TooLarge { bytes, limit: SERVED_FRAME_BYTES_MAX });
        }
        if self.buffer.len() < LENGTH_BYTES + bytes {
            return Ok(None);
        }
        self.buffer.advance(LENGTH_BYTES);
        Ok(Some(self.buffer.split_to(bytes).freeze()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames_come_out_as_they_went_in_however_they_are_cut() {
        let messages = ["", "one", &"x".repeat(200_000), "last"];
        let mut sent = Vec::new();
        messages.iter().for_each(|message| append(message, &mut sent).unwrap());
        for cut in [1, 7, 4_096, 1 << 20] {
            let mut script = cut_reader(&sent, cut);
            for message in messages {
                assert_eq!(script.expect::<String>().await.unwrap(), message, "cut every {cut} bytes");
            }
            assert!(script.next().await.unwrap().is_none());
        }
    }

    fn cut_reader(sent: &[u8], cut: usize) -> FrameReader<Cut> {
        FrameReader::new(Cut { bytes: Bytes::copy_from_slice(sent), cut })
    }

    /// Gives at most `cut` bytes at a time.
    struct Cut {
        bytes: Bytes,
        cut: usize,
    }

    impl AsyncRead for Cut {
        fn poll_read(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
            into: &mut tokio::io::ReadBuf<'_>,
        ) -> std::task::Poll<io::Result<()>> {
            let taken = self.cut.min(self.bytes.len()).min(into.remaining());
            into.put_slice(&self.bytes.split_to(taken));
            std::task::Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn a_frame_over_the_limit_is_refused_before_its_bytes_arrive() {
        let length = u32::try_from(SERVED_FRAME_BYTES_MAX + 1).unwrap().to_be_bytes();
        let refused = FrameReader::new(&length[..]).next().await;
        assert!(matches!(refused, Err(FrameError::TooLarge { .. })), "{refused:?}");
        let mut frames = vec![7];
        let refused = append(&"x".repeat(SERVED_FRAME_BYTES_MAX), &mut frames);
        assert!(matches!(refused, Err(FrameError::TooLarge { .. })) && frames == [7], "{refused:?}");
    }

    #[tokio::test]
    async fn a_connection_that_ends_within_a_frame_is_an_error() {
        let mut sent = Vec::new();
        append(&"cut", &mut sent).unwrap();
        sent.pop();
        assert!(matches!(FrameReader::new(&sent[..]).next().await, Err(FrameError::Io(_))));
    }
}
