//! The bound of one mailbox: a permit for each waiting message, by count and by bytes, and the gate that closes it.
//!
//! One atomic word, so that admitting, releasing and closing are each one step: a mailbox closes for good only
//! while no message is admitted, and so none is ever lost in the race between a sender and a passivation.

use std::sync::atomic::{AtomicU64, Ordering};

const CLOSED: u64 = 1 << 63;
const MESSAGE: u64 = 1 << 32;
const BYTES: u64 = MESSAGE - 1;

/// Why a message was not admitted.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// There are too many messages or bytes already.
    Full,
    /// The mailbox has closed for good; another cell may follow it.
    Closed,
}

/// How much waits, as one word: a closed bit, the count of messages, and their bytes.
#[derive(Debug, Default)]
pub(crate) struct Admission(AtomicU64);

impl Admission {
    /// Takes a permit for a message of `bytes`.
    pub(crate) fn admit(&self, bytes: u32, messages_max: usize, bytes_max: usize) -> Result<(), Refused> {
        let taken = self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| {
            let (messages, waiting) = (messages(word), (word & BYTES) as usize);
            let fits = messages < messages_max && waiting.saturating_add(bytes as usize) <= bytes_max;
            // A single message that fits the limit of a message is admitted to an empty mailbox, whatever its bound.
            (word & CLOSED == 0 && (fits || messages == 0)).then(|| word + MESSAGE + u64::from(bytes))
        });
        taken.map(drop).map_err(|word| if word & CLOSED == 0 { Refused::Full } else { Refused::Closed })
    }

    /// Gives the permit of a message of `bytes` back.
    pub(crate) fn release(&self, bytes: u32) {
        self.0.fetch_sub(MESSAGE + u64::from(bytes), Ordering::AcqRel);
    }

    /// Closes it if nothing waits.
    pub(crate) fn close_if_empty(&self) -> bool {
        self.0.compare_exchange(0, CLOSED, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Closes it, whatever waits.
    pub(crate) fn close(&self) {
        self.0.fetch_or(CLOSED, Ordering::AcqRel);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.0.load(Ordering::Acquire) & CLOSED != 0
    }

    /// Messages that wait.
    pub(crate) fn messages(&self) -> usize {
        messages(self.0.load(Ordering::Acquire))
    }

    /// Bytes that wait.
    pub(crate) fn bytes(&self) -> usize {
        (self.0.load(Ordering::Acquire) & BYTES) as usize
    }
}

fn messages(word: u64) -> usize {
    ((word & !CLOSED) / MESSAGE) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mailbox_is_bounded_by_messages_and_by_bytes() {
        let admission = Admission::default();
        assert_eq!(admission.admit(10, 2, 100), Ok(()));
        assert_eq!(admission.admit(91, 2, 100), Err(Refused::Full));
        assert_eq!(admission.admit(90, 2, 100), Ok(()));
        assert_eq!(admission.admit(0, 2, 100), Err(Refused::Full));
        assert_eq!((admission.messages(), admission.bytes()), (2, 100));
        admission.release(90);
        assert_eq!(admission.admit(1, 2, 100), Ok(()));
    }

    #[test]
    fn a_mailbox_with_a_message_in_it_does_not_close() {
        let admission = Admission::default();
        admission.admit(1, 1, 1).unwrap();
        assert!(!admission.close_if_empty());
        admission.release(1);
        assert!(admission.close_if_empty() && admission.is_closed());
        assert_eq!(admission.admit(1, 1, 1), Err(Refused::Closed));
    }
}
