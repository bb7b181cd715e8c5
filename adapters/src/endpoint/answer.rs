//! The body of an endpoint's answer, taken piece by piece: one that does not end is not read to its end.

use steward_types::limits::CHAIN_ANSWER_BYTES_MAX;
use thiserror::Error;

/// An endpoint sends more than any question is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the endpoint's answer is longer than {CHAIN_ANSWER_BYTES_MAX} bytes")]
pub struct AnswerTooLong;

/// A body as far as it came.
#[derive(Debug, Default)]
pub struct AnswerBody(Vec<u8>);

impl AnswerBody {
    /// An empty body, of which the endpoint announces this length, or none.
    ///
    /// # Errors
    /// [`AnswerTooLong`] when that is more than is taken.
    pub fn announced(length: Option<u64>) -> Result<Self, AnswerTooLong> {
        let is_long = length.is_some_and(|length| usize::try_from(length).is_ok_and(|l| l > CHAIN_ANSWER_BYTES_MAX));
        if is_long { Err(AnswerTooLong) } else { Ok(Self::default()) }
    }

    /// Takes the next piece.
    ///
    /// # Errors
    /// [`AnswerTooLong`] when it is one too many.
    pub fn push(&mut self, piece: &[u8]) -> Result<(), AnswerTooLong> {
        if piece.len() > CHAIN_ANSWER_BYTES_MAX.saturating_sub(self.0.len()) {
            return Err(AnswerTooLong);
        }
        self.0.extend_from_slice(piece);
        Ok(())
    }

    /// The whole body.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_taken_up_to_its_bound_and_not_a_byte_beyond() {
        let most = CHAIN_ANSWER_BYTES_MAX as u64;
        assert_eq!(AnswerBody::announced(Some(most + 1)).unwrap_err(), AnswerTooLong);
        let mut body = AnswerBody::announced(Some(most)).unwrap();
        body.push(&vec![b' '; CHAIN_ANSWER_BYTES_MAX - 1]).unwrap();
        assert_eq!(body.push(b"ab").unwrap_err(), AnswerTooLong);
        body.push(b"a").unwrap();
        assert_eq!(body.into_bytes().len(), CHAIN_ANSWER_BYTES_MAX);
    }
}
