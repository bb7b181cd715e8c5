//! Reads little-endian numbers and texts, and says where in the file it stood when something was wrong.

use std::io::Read;

use super::HeaderError;

/// Bytes that are read, and allocated, at a time for a text whose length is only claimed.
const TEXT_CHUNK_BYTES: u64 = 64 << 10;

/// A reader that counts, and ends at a limit.
pub struct HeaderReader<R> {
    source: R,
    position: u64,
    limit: u64,
}

impl<R: Read> HeaderReader<R> {
    /// Reads at most `limit` bytes from `source`, which stands at the file's beginning.
    pub fn new(source: R, limit: u64) -> Self {
        Self { source, position: 0, limit }
    }

    /// Bytes that were read.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Bytes that may still be read.
    pub fn remaining(&self) -> u64 {
        self.limit - self.position
    }

    /// Exactly `N` bytes.
    pub fn bytes<const N: usize>(&mut self, what: &str) -> Result<[u8; N], HeaderError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes, what)?;
        Ok(bytes)
    }

    /// A 32-bit number.
    pub fn u32(&mut self, what: &str) -> Result<u32, HeaderError> {
        self.bytes(what).map(u32::from_le_bytes)
    }

    /// A 64-bit number.
    pub fn u64(&mut self, what: &str) -> Result<u64, HeaderError> {
        self.bytes(what).map(u64::from_le_bytes)
    }

    /// A text with its length before it.
    pub fn text(&mut self, what: &str, most: u64) -> Result<String, HeaderError> {
        let at = self.position;
        let length = self.u64(what)?;
        if length > most || length > self.remaining() {
            let room = most.min(self.remaining());
            return Err(HeaderError(format!(
                "at byte {at}: {what} claims {length} bytes, at most {room} are possible"
            )));
        }
        let mut bytes = Vec::new();
        while (bytes.len() as u64) < length {
            let begin = bytes.len();
            let chunk = TEXT_CHUNK_BYTES.min(length - begin as u64);
            bytes.resize(begin + usize::try_from(chunk).unwrap_or(0), 0);
            self.fill(&mut bytes[begin..], what)?;
        }
        String::from_utf8(bytes).map_err(|_| HeaderError(format!("at byte {at}: {what} is not UTF-8")))
    }

    fn fill(&mut self, bytes: &mut [u8], what: &str) -> Result<(), HeaderError> {
        let (at, length) = (self.position, bytes.len() as u64);
        if length > self.remaining() {
            return Err(HeaderError(format!("at byte {at}: the header ends within {what}")));
        }
        self.source
            .read_exact(bytes)
            .map_err(|error| HeaderError(format!("at byte {at}: {what} cannot be read: {error}")))?;
        self.position += length;
        Ok(())
    }
}
