//! The messages between a served store and its clients, and how they become the port's types and back.
//!
//! A variant goes by its name and a struct's fields by their order: a later version adds variants, and fields at the
//! end with a default, and says so by [`VERSION_LATEST`].

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use steward_storage::optimistic::{CommitRequest, KeyRange, StampedRow, Write, too_old};
use steward_storage::{AtomicOp, ConflictRange, StoreError, Txn};

/// What every connection begins with.
pub(crate) const MAGIC: &str = "steward-store";
/// The oldest version of the protocol that this program speaks.
pub(crate) const VERSION_OLDEST: u16 = 1;
/// The latest version of the protocol that this program speaks.
pub(crate) const VERSION_LATEST: u16 = 1;

/// A client's first message.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Hello {
    pub(crate) magic: String,
    pub(crate) oldest: u16,
    pub(crate) latest: u16,
    /// Drawn when the client's process made it. A server keeps one connection of a client.
    pub(crate) client: [u8; 16],
    /// Counts the client's tries to connect; a later one ends an earlier one.
    pub(crate) connection: u64,
}

/// A server's first message.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Greeting {
    Welcome { version: u16 },
    Refused { reason: String },
}

/// Which transaction of its connection a request belongs to.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct TransactionRef {
    pub(crate) id: u64,
    /// The first request of the transaction. One that the server does not know and that is not new is too old.
    pub(crate) first: bool,
}

/// From a client. Those with a `call` are answered.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// Takes the read version.
    Open {
        of: TransactionRef,
    },
    Get {
        call: u64,
        of: TransactionRef,
        key: Bytes,
    },
    Range {
        call: u64,
        of: TransactionRef,
        begin: Bytes,
        end: Bytes,
        limit: u32,
        reverse: bool,
    },
    /// A watch of what the transaction sees; active once it commits.
    Watch {
        of: TransactionRef,
        watch: u64,
        key: Bytes,
    },
    Commit {
        call: u64,
        of: TransactionRef,
        changes: Changes,
    },
    /// Gives a transaction up.
    End {
        transaction: u64,
    },
    Unwatch {
        watch: u64,
    },
    /// Shows that the client lives.
    Alive,
}

/// From a server.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    Value {
        call: u64,
        value: Option<Bytes>,
    },
    Page {
        call: u64,
        rows: Vec<(Bytes, Bytes)>,
        more: bool,
    },
    Committed {
        call: u64,
        version: u64,
    },
    Failed {
        call: u64,
        failure: Failure,
    },
    /// The watch resolved.
    Changed {
        watch: u64,
    },
    /// The watch can no longer tell.
    WatchEnded {
        watch: u64,
    },
    /// Shows that the server lives, also when it takes no more requests for now.
    Alive,
}

/// A [`StoreError`] on the wire.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Failure {
    Conflict,
    TooOld,
    CommitUnknown,
    TooLarge { what: String, size: u64, limit: u64 },
    Unavailable { reason: String },
    Corrupt { reason: String },
    Invalid { reason: String },
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Conflict => Self::Conflict,
            StoreError::TooOld { .. } => Self::TooOld,
            StoreError::CommitUnknown => Self::CommitUnknown,
            StoreError::TooLarge { what, size, limit } => {
                Self::TooLarge { what: what.to_owned(), size: size as u64, limit: limit as u64 }
            }
            StoreError::Unavailable { reason, source: None } => Self::Unavailable { reason },
            StoreError::Unavailable { reason, source: Some(source) } => {
                Self::Unavailable { reason: format!("{reason} ({source})") }
            }
            locked @ StoreError::Locked { .. } => Self::Unavailable { reason: locked.to_string() },
            StoreError::Corrupt(reason) => Self::Corrupt { reason },
            StoreError::Invalid(reason) => Self::Invalid { reason: reason.to_owned() },
        }
    }
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Conflict => Self::Conflict,
            Failure::TooOld => too_old(),
            Failure::CommitUnknown => Self::CommitUnknown,
            Failure::TooLarge { what, size, limit } => {
                let known = ["key", "value", "transaction", "watches"].into_iter().find(|known| *known == what);
                let number = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
                Self::TooLarge { what: known.unwrap_or("request"), size: number(size), limit: number(limit) }
            }
            Failure::Unavailable { reason } => Self::unavailable(reason),
            Failure::Corrupt { reason } => Self::Corrupt(reason),
            Failure::Invalid { reason } => {
                tracing::warn!(reason, "the served store refused a call as invalid");
                Self::Invalid("the served store refused the call; the log says why")
            }
        }
    }
}

/// The operations of [`AtomicOp`].
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) enum Operation {
    Add,
    Max,
}

impl From<AtomicOp> for Operation {
    fn from(op: AtomicOp) -> Self {
        match op {
            AtomicOp::Add => Self::Add,
            AtomicOp::Max => Self::Max,
        }
    }
}

impl From<Operation> for AtomicOp {
    fn from(operation: Operation) -> Self {
        match operation {
            Operation::Add => Self::Add,
            Operation::Max => Self::Max,
        }
    }
}

type Range = (Bytes, Bytes);

/// A [`CommitRequest`] on the wire, without its read version: the server's transaction has it.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Changes {
    reads: Vec<Range>,
    marks: Vec<Range>,
    clears: Vec<Range>,
    removes: Vec<Bytes>,
    sets: Vec<(Bytes, Bytes)>,
    atomics: Vec<(Bytes, Vec<(Operation, u64)>)>,
    stamped: Vec<(Bytes, Bytes, Bytes)>,
}

impl From<CommitRequest> for Changes {
    fn from(request: CommitRequest) -> Self {
        let ranges = |ranges: Vec<KeyRange>| ranges.into_iter().map(|range| (range.begin, range.end)).collect();
        let mut changes = Self {
            reads: ranges(request.reads),
            marks: ranges(request.marks),
            clears: ranges(request.clears),
            ..Self::default()
        };
        for (key, write) in request.writes {
            match write {
                Write::Value(Some(value)) => changes.sets.push((key, value)),
                Write::Value(None) => changes.removes.push(key),
                Write::Atomic(ops) => {
                    changes.atomics.push((key, ops.into_iter().map(|(op, operand)| (op.into(), operand)).collect()));
                }
            }
        }
        let stamped = |StampedRow { prefix, suffix, value }| (prefix, suffix, value);
        changes.stamped = request.stamped.into_iter().map(stamped).collect();
        changes
    }
}

impl Changes {
    /// Does all of it in a transaction of the served store, which checks it as it checks its own callers'.
    ///
    /// # Errors
    /// Those of the transaction.
    pub(crate) fn replay(self, txn: &Txn) -> Result<(), StoreError> {
        for (begin, end) in self.reads {
            txn.add_conflict(ConflictRange::Read(begin.into(), end.into()))?;
        }
        for (begin, end) in self.marks {
            txn.add_conflict(ConflictRange::Write(begin.into(), end.into()))?;
        }
        // What a client wrote before it cleared a range is not in its request, so clears come first.
        for (begin, end) in self.clears {
            txn.clear_range(&begin, &end)?;
        }
        for key in self.removes {
            txn.clear(&key)?;
        }
        for (key, value) in self.sets {
            txn.set(&key, &value)?;
        }
        for (key, operations) in self.atomics {
            for (operation, operand) in operations {
                txn.atomic(&key, operation.into(), operand)?;
            }
        }
        for (prefix, suffix, value) in self.stamped {
            txn.set_versionstamped_key(&prefix, &suffix, &value)?;
        }
        Ok(())
    }
}
