//! The closed list of error codes. Each has a page under `docs/errors/`; a test checks it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The gRPC status that an error becomes at the edge (names and numbers of google.rpc.Code).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
#[expect(missing_docs, reason = "the names are google.rpc.Code's own")]
pub enum StatusCode {
    Cancelled = 1,
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    NotFound = 5,
    AlreadyExists = 6,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    FailedPrecondition = 9,
    Aborted = 10,
    OutOfRange = 11,
    Internal = 13,
    Unavailable = 14,
    DataLoss = 15,
    Unauthenticated = 16,
}

impl StatusCode {
    /// The HTTP status that stands for it (google.api.HttpRule's mapping).
    pub const fn http(self) -> u16 {
        match self {
            Self::Cancelled => 499,
            Self::InvalidArgument | Self::FailedPrecondition | Self::OutOfRange => 400,
            Self::DeadlineExceeded => 504,
            Self::NotFound => 404,
            Self::AlreadyExists | Self::Aborted => 409,
            Self::PermissionDenied => 403,
            Self::ResourceExhausted => 429,
            Self::Internal | Self::DataLoss => 500,
            Self::Unavailable => 503,
            Self::Unauthenticated => 401,
        }
    }
}

macro_rules! error_codes {
    ($($(#[$doc:meta])* $variant:ident = $reason:literal, $status:ident;)*) => {
        /// Why something was refused or failed, in the words a program can act on.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum ErrorCode {
            $($(#[$doc])* $variant,)*
        }

        impl ErrorCode {
            /// Every code, in the order of the list.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The machine-readable reason, upper snake case, never changed once released.
            pub const fn reason(self) -> &'static str {
                match self { $(Self::$variant => $reason,)* }
            }

            /// The gRPC status that it becomes at the edge.
            pub const fn status(self) -> StatusCode {
                match self { $(Self::$variant => StatusCode::$status,)* }
            }
        }
    };
}

error_codes! {
    // Requests.
    /// A field of the request is missing or wrong.
    InvalidRequest = "INVALID_REQUEST", InvalidArgument;
    /// The request or message is larger than allowed.
    RequestTooLarge = "REQUEST_TOO_LARGE", InvalidArgument;
    /// No or an unknown API key.
    Unauthenticated = "UNAUTHENTICATED", Unauthenticated;
    /// The key is good but may not do this.
    PermissionDenied = "PERMISSION_DENIED", PermissionDenied;
    /// Too many requests for this key.
    RateLimited = "RATE_LIMITED", ResourceExhausted;
    /// The caller's deadline passed.
    DeadlineExceeded = "DEADLINE_EXCEEDED", DeadlineExceeded;
    /// The caller, or an operator, cancelled it.
    Cancelled = "CANCELLED", Cancelled;

    // Things by name.
    /// There is no such project.
    ProjectNotFound = "PROJECT_NOT_FOUND", NotFound;
    /// A project of this name exists.
    ProjectExists = "PROJECT_EXISTS", AlreadyExists;
    /// There is no such agent in the project.
    AgentNotFound = "AGENT_NOT_FOUND", NotFound;
    /// There is no such module of the project.
    ModuleNotFound = "MODULE_NOT_FOUND", NotFound;
    /// There is no such session.
    SessionNotFound = "SESSION_NOT_FOUND", NotFound;
    /// The session has ended.
    SessionEnded = "SESSION_ENDED", FailedPrecondition;
    /// There is no such model.
    ModelNotFound = "MODEL_NOT_FOUND", NotFound;
    /// A model of this name exists.
    ModelExists = "MODEL_EXISTS", AlreadyExists;
    /// There is no such approval.
    ApprovalNotFound = "APPROVAL_NOT_FOUND", NotFound;
    /// The approval was decided before, differently, or has expired.
    ApprovalDecided = "APPROVAL_DECIDED", FailedPrecondition;
    /// A person did not agree, or nobody answered in time.
    ApprovalRejected = "APPROVAL_REJECTED", PermissionDenied;
    /// There is no such receipt.
    ReceiptNotFound = "RECEIPT_NOT_FOUND", NotFound;
    /// There is no such order of a transaction.
    OrderNotFound = "ORDER_NOT_FOUND", NotFound;
    /// There is no such chain.
    ChainNotFound = "CHAIN_NOT_FOUND", NotFound;
    /// There is no such kind or id of entity.
    EntityNotFound = "ENTITY_NOT_FOUND", NotFound;
    /// There is no such node.
    NodeNotFound = "NODE_NOT_FOUND", NotFound;

    // Entities.
    /// The entity's mailbox is full.
    MailboxFull = "MAILBOX_FULL", ResourceExhausted;
    /// The entity is set aside because its record or a message is poison.
    EntityQuarantined = "ENTITY_QUARANTINED", FailedPrecondition;
    /// The entity crashed and is being restarted.
    EntityRestarting = "ENTITY_RESTARTING", Unavailable;
    /// The node works on as much as it may, and had no place in time.
    NodeBusy = "NODE_BUSY", ResourceExhausted;
    /// The node is draining and takes no new work.
    NodeDraining = "NODE_DRAINING", Unavailable;
    /// This node does not own the entity's shard any more.
    LeaseLost = "LEASE_LOST", Unavailable;
    /// The node that serves the entity did not answer.
    NodeUnreachable = "NODE_UNREACHABLE", Unavailable;
    /// The node is in no state to take shards.
    NodeNotUp = "NODE_NOT_UP", FailedPrecondition;
    /// No other node is there that could take over.
    NodeAlone = "NODE_ALONE", FailedPrecondition;
    /// An operator has paused it.
    Paused = "PAUSED", FailedPrecondition;

    // Scripts.
    /// The script did not pass its check.
    ScriptInvalid = "SCRIPT_INVALID", InvalidArgument;
    /// The script raised an exception that it did not catch.
    ScriptFailed = "SCRIPT_FAILED", Aborted;
    /// The script passed its operation limit.
    ScriptOperations = "SCRIPT_OPERATIONS", ResourceExhausted;
    /// The script passed its call or expression depth.
    ScriptDepth = "SCRIPT_DEPTH", ResourceExhausted;
    /// The script passed its memory or size limit.
    ScriptMemory = "SCRIPT_MEMORY", ResourceExhausted;
    /// The script ran too long between two host calls.
    ScriptTime = "SCRIPT_TIME", ResourceExhausted;
    /// The script made more steps than a turn may have.
    ScriptSteps = "SCRIPT_STEPS", ResourceExhausted;
    /// A replay asked for another step than the journal has.
    ReplayDiverged = "REPLAY_DIVERGED", DataLoss;
    /// A step's arguments are wrong.
    StepInvalid = "STEP_INVALID", InvalidArgument;
    /// An effect was begun and its outcome is not known.
    EffectUnknown = "EFFECT_UNKNOWN", Aborted;
    /// The agent's manifest does not allow this.
    ToolForbidden = "TOOL_FORBIDDEN", PermissionDenied;
    /// A tool failed.
    ToolFailed = "TOOL_FAILED", Aborted;

    // Models.
    /// The model file is corrupt or of an unsupported kind.
    ModelFileInvalid = "MODEL_FILE_INVALID", InvalidArgument;
    /// The model needs more memory than the device has left.
    DeviceMemory = "DEVICE_MEMORY", ResourceExhausted;
    /// The device that the model is on failed, or is not there.
    DeviceFailed = "DEVICE_FAILED", Unavailable;
    /// The prompt does not fit the model's context.
    ContextTooLong = "CONTEXT_TOO_LONG", InvalidArgument;
    /// The model can't do this (embed with a generator, generate with an embedder).
    ModelUnsuited = "MODEL_UNSUITED", FailedPrecondition;
    /// The model is loading, or its queue is full.
    ModelBusy = "MODEL_BUSY", Unavailable;

    // Budgets.
    /// The budget has not enough left.
    BudgetExhausted = "BUDGET_EXHAUSTED", ResourceExhausted;
    /// The price list has no price for this.
    PriceMissing = "PRICE_MISSING", FailedPrecondition;

    // Receipts and chains.
    /// A proof, checkpoint or leaf does not verify.
    ProofInvalid = "PROOF_INVALID", InvalidArgument;
    /// The receipt is not in the log, or the log not anchored, yet.
    ReceiptPending = "RECEIPT_PENDING", Unavailable;
    /// The chain, or every endpoint of it, cannot be reached.
    ChainUnavailable = "CHAIN_UNAVAILABLE", Unavailable;
    /// The agent's manifest, or the operator, does not allow this on the chain.
    ChainForbidden = "CHAIN_FORBIDDEN", PermissionDenied;
    /// A cap on what may be spent on the chain would be passed.
    ChainLimitReached = "CHAIN_LIMIT_REACHED", ResourceExhausted;
    /// The chain refused the transaction.
    ChainRejected = "CHAIN_REJECTED", Aborted;

    // Storage.
    /// The store cannot be reached, or its retries are used up.
    StoreUnavailable = "STORE_UNAVAILABLE", Unavailable;
    /// A stored record cannot be read.
    RecordCorrupt = "RECORD_CORRUPT", DataLoss;
    /// Another process has the store open.
    StoreLocked = "STORE_LOCKED", FailedPrecondition;

    // The rest.
    /// The configuration is wrong.
    ConfigInvalid = "CONFIG_INVALID", InvalidArgument;
    /// A bug in Steward.
    Internal = "INTERNAL", Internal;
}

impl ErrorCode {
    /// Whether the same request may succeed later, unchanged.
    pub const fn is_retryable(self) -> bool {
        matches!(self.status(), StatusCode::Unavailable)
            || matches!(self, Self::MailboxFull | Self::NodeBusy | Self::RateLimited | Self::DeadlineExceeded)
    }

    /// The name of its page, without folder: `BUDGET_EXHAUSTED` is explained in `budget-exhausted.md`.
    pub fn page(self) -> String {
        format!("{}.md", self.reason().to_ascii_lowercase().replace('_', "-"))
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.reason())
    }
}

/// The text is no reason of the closed list.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not an error code")]
pub struct UnknownErrorCode(String);

impl FromStr for ErrorCode {
    type Err = UnknownErrorCode;
    fn from_str(text: &str) -> Result<Self, UnknownErrorCode> {
        let found = Self::ALL.iter().copied().find(|code| code.reason() == text);
        found.ok_or_else(|| UnknownErrorCode(text.to_owned()))
    }
}

impl Serialize for ErrorCode {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.reason())
    }
}

impl<'de> Deserialize<'de> for ErrorCode {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_told_apart_and_reads_back() {
        for &code in ErrorCode::ALL {
            assert_eq!(code.reason().parse::<ErrorCode>().unwrap(), code);
        }
    }
}
