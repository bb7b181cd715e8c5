//! Turns the bytes of tokens into text: valid UTF-8 only, with incomplete characters held back until they are whole.

/// Bytes that are not yet a whole character.
#[derive(Debug, Default)]
pub struct TextStream {
    pending: Vec<u8>,
}

impl TextStream {
    /// Takes more bytes and gives out the text that is whole. What can never become valid turns into U+FFFD.
    pub fn push(&mut self, bytes: &[u8]) -> String {
        self.pending.extend_from_slice(bytes);
        let mut text = String::new();
        let mut rest = self.pending.as_slice();
        loop {
            match std::str::from_utf8(rest) {
                Ok(valid) => {
                    text.push_str(valid);
                    rest = &[];
                }
                Err(error) => {
                    let (valid, after) = rest.split_at(error.valid_up_to());
                    text.push_str(&String::from_utf8_lossy(valid));
                    rest = after;
                    if let Some(bad) = error.error_len() {
                        text.push(char::REPLACEMENT_CHARACTER);
                        rest = &rest[bad..];
                        continue;
                    }
                }
            }
            break;
        }
        self.pending = rest.to_vec();
        text
    }

    /// What is left when the bytes have ended: U+FFFD for an incomplete character.
    pub fn finish(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.pending)).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_incomplete_character_is_held_back() {
        let mut stream = TextStream::default();
        let bytes = "a😀b".as_bytes();
        assert_eq!(stream.push(&bytes[..3]), "a");
        assert_eq!(stream.push(&bytes[3..]), "😀b");
        assert_eq!(stream.push(&bytes[1..3]), "");
        assert_eq!(stream.finish(), "\u{fffd}");
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(bytes in proptest::collection::vec(any::<u8>(), 0..40), cut in 0usize..40) {
            let (first, second) = bytes.split_at(cut.min(bytes.len()));
            let mut stream = TextStream::default();
            let text = stream.push(first) + &stream.push(second) + &stream.finish();
            prop_assert_eq!(text, String::from_utf8_lossy(&bytes));
        }
    }
}
