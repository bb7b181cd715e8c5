//! Why an outbox sends nothing, on the wire.

use steward_adapters::outbox::{Since, Stall};

use crate::proto::v1;
use crate::proto::v1::stall::{ChainReset, OtherAccount, Reason, SequenceWentBack, Undone, UndoneSince};

impl From<Stall> for v1::Stall {
    fn from(stall: Stall) -> Self {
        let reason = match stall {
            Stall::ChainReset { known, found } => Reason::ChainReset(ChainReset { known, found }),
            Stall::OtherAccount { known, found } => Reason::OtherAccount(OtherAccount { known, found }),
            Stall::SequenceWentBack { known, found } => Reason::SequenceWentBack(SequenceWentBack { known, found }),
            Stall::Undone { transaction, block, since } => {
                let (since, since_block) = match since {
                    Since::Included { block } => (UndoneSince::Included, block),
                    Since::Waiting => (UndoneSince::Waiting, 0),
                    Since::Gone => (UndoneSince::Gone, 0),
                    Since::Displaced => (UndoneSince::Displaced, 0),
                    Since::Expired => (UndoneSince::Expired, 0),
                };
                Reason::Undone(Undone { transaction, block, since: since.into(), since_block })
            }
        };
        Self { reason: Some(reason) }
    }
}

/// A reason that a client does not know: the node is newer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("for a reason that this version does not know: use the node's own")]
pub struct UnknownStall;

impl TryFrom<&v1::Stall> for Stall {
    type Error = UnknownStall;

    fn try_from(stall: &v1::Stall) -> Result<Self, UnknownStall> {
        Ok(match stall.reason.clone().ok_or(UnknownStall)? {
            Reason::ChainReset(ChainReset { known, found }) => Self::ChainReset { known, found },
            Reason::OtherAccount(OtherAccount { known, found }) => Self::OtherAccount { known, found },
            Reason::SequenceWentBack(SequenceWentBack { known, found }) => Self::SequenceWentBack { known, found },
            Reason::Undone(undone) => {
                let since = match undone.since() {
                    UndoneSince::Unspecified => return Err(UnknownStall),
                    UndoneSince::Included => Since::Included { block: undone.since_block },
                    UndoneSince::Waiting => Since::Waiting,
                    UndoneSince::Gone => Since::Gone,
                    UndoneSince::Displaced => Since::Displaced,
                    UndoneSince::Expired => Since::Expired,
                };
                Self::Undone { transaction: undone.transaction, block: undone.block, since }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_comes_back_from_the_wire_as_it_was() {
        let (known, found) = ("a".to_owned(), "b".to_owned());
        let undone = |since| Stall::Undone { transaction: "0xab".to_owned(), block: 7, since };
        for stall in [
            Stall::ChainReset { known: known.clone(), found: found.clone() },
            Stall::OtherAccount { known, found },
            Stall::SequenceWentBack { known: 5, found: 4 },
            undone(Since::Included { block: 9 }),
            undone(Since::Waiting),
            undone(Since::Gone),
            undone(Since::Displaced),
            undone(Since::Expired),
        ] {
            assert_eq!(Stall::try_from(&v1::Stall::from(stall.clone())), Ok(stall));
        }
        assert_eq!(Stall::try_from(&v1::Stall::default()), Err(UnknownStall));
    }
}
