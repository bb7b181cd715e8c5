//! Why the façade did not do what was asked, in the words of the closed list.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::time::Duration;

use steward_inference::ModelError;
use steward_storage::{StoreError, TransactionError};
use steward_types::limits::PLACE_RETRY_AFTER;
use steward_types::{ErrorCode, IdError};

use crate::budget::{LedgerError, PriceError};
use crate::host::AskError;
use crate::lease::LeaseError;
use crate::receipt_log::ReceiptError;
use crate::session::{ReadError, Refusal};

/// A refusal or a failure, ready to become a status: a code, a message for people, and what a program can act on.
#[derive(Debug)]
pub struct Failure {
    /// Why, from the closed list.
    pub code: ErrorCode,
    /// Why, for people.
    pub message: String,
    /// What it is about, for programs.
    pub metadata: BTreeMap<String, String>,
    /// When to try again, where that helps.
    pub retry_after: Option<Duration>,
    /// The fields that are wrong.
    pub violations: Vec<FieldViolation>,
    cause: Option<Box<dyn Error + Send + Sync>>,
}

/// A field of a request that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldViolation {
    /// The field's path.
    pub field: String,
    /// What is wrong, and what would be right.
    pub description: String,
}

impl Failure {
    /// A failure with a message.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            metadata: BTreeMap::new(),
            retry_after: None,
            violations: Vec::new(),
            cause: None,
        }
    }

    /// One wrong field.
    pub fn field(field: impl Into<String>, description: impl Into<String>) -> Self {
        let violation = FieldViolation { field: field.into(), description: description.into() };
        let message = format!("{}: {}", violation.field, violation.description);
        Self { violations: vec![violation], ..Self::new(ErrorCode::InvalidRequest, message) }
    }

    /// The same with one more thing for programs.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl fmt::Display) -> Self {
        self.metadata.insert(name.to_owned(), value.to_string());
        self
    }

    fn caused_by(code: ErrorCode, error: impl Error + Send + Sync + 'static) -> Self {
        let mut failure = Self::new(code, error.to_string());
        failure.cause = Some(error.into());
        failure
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        // The message is the cause's own, so the chain goes on behind it.
        self.cause.as_deref().and_then(Error::source)
    }
}

impl TransactionError for Failure {
    fn store_error(&self) -> Option<&StoreError> {
        self.cause.as_deref().and_then(<dyn Error + Send + Sync>::downcast_ref)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::caused_by(error.code(), error)
    }
}

impl From<AskError> for Failure {
    fn from(error: AskError) -> Self {
        let retry_after = error.retry_after();
        Self { retry_after, ..Self::caused_by(error.code(), error) }
    }
}

impl From<LedgerError> for Failure {
    fn from(error: LedgerError) -> Self {
        match error {
            LedgerError::Store(error) => error.into(),
            LedgerError::Exhausted { level, needed, available } => {
                let failure = Self::caused_by(ErrorCode::BudgetExhausted, error);
                let failure = failure.with("level", level).with("needed_micros", needed.get());
                failure.with("available_micros", available.get())
            }
            other => Self::caused_by(other.code(), other),
        }
    }
}

impl From<LeaseError> for Failure {
    fn from(error: LeaseError) -> Self {
        match error {
            LeaseError::Store(error) => error.into(),
            LeaseError::Lost { .. } => Self::caused_by(ErrorCode::LeaseLost, error),
        }
    }
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Store(error) => error.into(),
            other => Self::caused_by(other.code(), other),
        }
    }
}

impl From<ReceiptError> for Failure {
    fn from(error: ReceiptError) -> Self {
        match error {
            ReceiptError::Store(error) => error.into(),
            other => Self::caused_by(other.code(), other),
        }
    }
}

impl From<PriceError> for Failure {
    fn from(error: PriceError) -> Self {
        let code = match error {
            PriceError::Missing { .. } => ErrorCode::PriceMissing,
            PriceError::TooLarge { .. } => ErrorCode::InvalidRequest,
        };
        Self::caused_by(code, error)
    }
}

impl From<ModelError> for Failure {
    fn from(error: ModelError) -> Self {
        match &error {
            ModelError::InvalidRequest { field, what } => Self::field(field.as_ref(), what.clone()),
            _ => Self::caused_by(error.code(), error),
        }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let retry_after = (refusal.code == ErrorCode::NodeBusy).then_some(PLACE_RETRY_AFTER);
        Self { retry_after, ..Self::new(refusal.code, refusal.message) }
    }
}

impl From<IdError> for Failure {
    fn from(error: IdError) -> Self {
        Self::caused_by(ErrorCode::InvalidRequest, error)
    }
}

/// An answer that does not fit its question: a bug of Steward's.
pub(super) fn unexpected(what: &str) -> Failure {
    Failure::new(ErrorCode::Internal, format!("{what} gave an answer that does not fit the question"))
}
