//! The bytes of a batch: a header and the frames that follow each other in sequence. Integers are little-endian.
//!
//! Header: tag (16) · flags (1) · acknowledged (8) · granted messages (8) · granted bytes (8) · first sequence (8).
//! Frame: type (1) · call (8) · its own fields · payload length (4) · payload.

use std::time::Duration;

use bytes::{Buf, BufMut, Bytes};

/// Bytes of a batch's header.
pub(super) const HEADER_BYTES: usize = 16 + 1 + 8 * 4;
/// Most bytes that a frame has around its payload.
pub(super) const FRAME_OVERHEAD_BYTES: usize = 1 + 8 + 16 + 2 + 4 + 4;

/// The sender asks for a batch in return, to know that the peer lives.
pub(super) const PING: u8 = 1;

const REQUEST: u8 = 1;
const REQUEST_WITH_ID: u8 = 2;
const ANSWER: u8 = 3;
const REFUSED: u8 = 4;
const OVERLOADED: u8 = 5;
const EXPIRED: u8 = 6;
const TOO_LARGE: u8 = 7;

/// The secret that a node gave its peer for one connection; the peer proves by it which connection a batch is from.
pub(super) type Tag = [u8; 16];
/// A caller's name for a call that may be repeated.
pub(super) type RequestId = [u8; 16];

/// How much a peer may send in total since the channel was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Credit {
    pub messages: u64,
    pub bytes: u64,
}

/// What stands before the frames of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub tag: Tag,
    pub flags: u8,
    pub acknowledged: u64,
    pub granted: Credit,
    pub first: u64,
}

/// How a call ended at the peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    Answer(Bytes),
    Refused { code: u16, message: Bytes },
    Overloaded { retry_after: Duration },
    Expired,
    TooLarge { bytes: u64 },
}

/// One message of a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Frame {
    /// `due` is a time of the local monotonic clock; what travels is the time that is left.
    Request {
        call: u64,
        id: Option<RequestId>,
        kind: u16,
        due: Duration,
        payload: Bytes,
    },
    Response {
        call: u64,
        outcome: Outcome,
    },
}

impl Frame {
    pub fn bytes(&self) -> usize {
        FRAME_OVERHEAD_BYTES
            + match self {
                Self::Request { payload, .. } => payload.len(),
                Self::Response { outcome: Outcome::Answer(payload), .. } => payload.len(),
                Self::Response { outcome: Outcome::Refused { message, .. }, .. } => message.len(),
                Self::Response { .. } => 8,
            }
    }

    pub fn encode(&self, now: Duration, out: &mut Vec<u8>) {
        match self {
            Self::Request { call, id, kind, due, payload } => {
                out.put_u8(if id.is_some() { REQUEST_WITH_ID } else { REQUEST });
                out.put_u64_le(*call);
                if let Some(id) = id {
                    out.put_slice(id);
                }
                out.put_u16_le(*kind);
                out.put_u32_le(millis(due.saturating_sub(now)));
                put_payload(out, payload);
            }
            Self::Response { call, outcome } => encode_outcome(*call, outcome, out),
        }
    }
}

fn encode_outcome(call: u64, outcome: &Outcome, out: &mut Vec<u8>) {
    let mut head = |kind: u8| {
        out.put_u8(kind);
        out.put_u64_le(call);
    };
    match outcome {
        Outcome::Answer(payload) => {
            head(ANSWER);
            put_payload(out, payload);
        }
        Outcome::Refused { code, message } => {
            head(REFUSED);
            out.put_u16_le(*code);
            put_payload(out, message);
        }
        Outcome::Overloaded { retry_after } => {
            head(OVERLOADED);
            out.put_u32_le(millis(*retry_after));
        }
        Outcome::Expired => head(EXPIRED),
        Outcome::TooLarge { bytes } => {
            head(TOO_LARGE);
            out.put_u64_le(*bytes);
        }
    }
}

impl Header {
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_slice(&self.tag);
        out.put_u8(self.flags);
        out.put_u64_le(self.acknowledged);
        out.put_u64_le(self.granted.messages);
        out.put_u64_le(self.granted.bytes);
        out.put_u64_le(self.first);
    }
}

/// A batch that the peer did not write as this release reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

/// The tag of a batch, by which its connection is found.
pub(super) fn tag_of(batch: &[u8]) -> Option<Tag> {
    batch.first_chunk::<16>().copied()
}

/// Reads a whole batch. `now` turns the time that a request has left into a time of the local clock. Payloads share
/// the batch's memory.
pub(super) fn decode(mut batch: Bytes, now: Duration) -> Result<(Header, Vec<Frame>), Malformed> {
    if batch.len() < HEADER_BYTES {
        return Err(Malformed);
    }
    let mut tag = [0; 16];
    batch.copy_to_slice(&mut tag);
    let header = Header {
        tag,
        flags: batch.get_u8(),
        acknowledged: batch.get_u64_le(),
        granted: Credit { messages: batch.get_u64_le(), bytes: batch.get_u64_le() },
        first: batch.get_u64_le(),
    };
    let mut frames = Vec::new();
    while batch.has_remaining() {
        frames.push(decode_frame(&mut batch, now)?);
    }
    Ok((header, frames))
}

fn decode_frame(batch: &mut Bytes, now: Duration) -> Result<Frame, Malformed> {
    let kind = batch.try_get_u8().map_err(|_| Malformed)?;
    let call = batch.try_get_u64_le().map_err(|_| Malformed)?;
    let outcome = match kind {
        REQUEST | REQUEST_WITH_ID => {
            let id = if kind == REQUEST_WITH_ID {
                let mut id = [0; 16];
                batch.try_copy_to_slice(&mut id).map_err(|_| Malformed)?;
                Some(id)
            } else {
                None
            };
            let kind = batch.try_get_u16_le().map_err(|_| Malformed)?;
            let due = now + duration(batch)?;
            return Ok(Frame::Request { call, id, kind, due, payload: payload(batch)? });
        }
        ANSWER => Outcome::Answer(payload(batch)?),
        REFUSED => {
            let code = batch.try_get_u16_le().map_err(|_| Malformed)?;
            Outcome::Refused { code, message: payload(batch)? }
        }
        OVERLOADED => Outcome::Overloaded { retry_after: duration(batch)? },
        EXPIRED => Outcome::Expired,
        TOO_LARGE => Outcome::TooLarge { bytes: batch.try_get_u64_le().map_err(|_| Malformed)? },
        _ => return Err(Malformed),
    };
    Ok(Frame::Response { call, outcome })
}

fn duration(batch: &mut Bytes) -> Result<Duration, Malformed> {
    Ok(Duration::from_millis(batch.try_get_u32_le().map_err(|_| Malformed)?.into()))
}

fn payload(batch: &mut Bytes) -> Result<Bytes, Malformed> {
    let length = batch.try_get_u32_le().map_err(|_| Malformed)? as usize;
    if length > batch.remaining() { Err(Malformed) } else { Ok(batch.split_to(length)) }
}

fn put_payload(out: &mut Vec<u8>, payload: &Bytes) {
    out.put_u32_le(u32::try_from(payload.len()).expect("payloads are bounded far below 4 GiB"));
    out.put_slice(payload);
}

fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frames() -> Vec<Frame> {
        let response = |call, outcome| Frame::Response { call, outcome };
        vec![
            Frame::Request { call: 1, id: None, kind: 7, due: Duration::from_millis(90), payload: "abc".into() },
            Frame::Request { call: 2, id: Some([9; 16]), kind: 8, due: Duration::from_secs(3), payload: Bytes::new() },
            response(3, Outcome::Answer("xyz".into())),
            response(4, Outcome::Refused { code: 404, message: "gone".into() }),
            response(5, Outcome::Overloaded { retry_after: Duration::from_millis(50) }),
            response(6, Outcome::Expired),
            response(7, Outcome::TooLarge { bytes: 1 << 40 }),
        ]
    }

    fn encoded(header: &Header, frames: &[Frame]) -> Vec<u8> {
        let mut out = Vec::new();
        header.encode(&mut out);
        frames.iter().for_each(|frame| frame.encode(Duration::from_millis(40), &mut out));
        out
    }

    fn header() -> Header {
        let granted = Credit { messages: 5, bytes: 6 };
        Header { tag: [3; 16], flags: PING, acknowledged: 4, granted, first: 12 }
    }

    #[test]
    fn what_was_written_is_read_again() {
        let bytes = encoded(&header(), &frames());
        assert_eq!(tag_of(&bytes), Some([3; 16]));
        assert_eq!(decode(bytes.into(), Duration::from_millis(40)), Ok((header(), frames())));
    }

    #[test]
    fn a_batch_that_is_cut_off_is_malformed_or_shorter() {
        let bytes = encoded(&header(), &frames());
        for length in 0..bytes.len() {
            if let Ok((_, read)) = decode(bytes[..length].to_vec().into(), Duration::ZERO) {
                assert!(read.len() < frames().len());
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode(bytes.into(), Duration::ZERO);
        }
    }
}
