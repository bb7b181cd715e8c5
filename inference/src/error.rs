//! Why a model could not be opened or asked. The caller acts on the variant, a person on its text.

use std::borrow::Cow;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use steward_types::{ErrorCode, ModelId};
use thiserror::Error;

/// Why a model could not be opened, or could not answer. It travels between the nodes of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
pub enum ModelError {
    /// No model of this name is known here.
    #[error("there is no model {id}")]
    NotFound {
        /// The name that was asked for.
        id: ModelId,
    },
    /// The file cannot be read, is corrupt, or is of a kind that the driver does not know.
    #[error("{}: {what}", path.display())]
    FileInvalid {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where in the file.
        what: String,
    },
    /// The device has not enough memory left. Nothing was loaded.
    #[error("{owner} needs {needed_bytes} bytes on device {device}, which has {free_bytes} left")]
    DeviceMemory {
        /// The device.
        device: String,
        /// What the memory was for.
        owner: String,
        /// Bytes that were asked for.
        needed_bytes: u64,
        /// Bytes that are left.
        free_bytes: u64,
    },
    /// The device that the model is on failed.
    #[error("device {device} failed: {operation}: {what}")]
    DeviceFailed {
        /// The device.
        device: String,
        /// What was being done on it.
        operation: String,
        /// What its driver says.
        what: String,
    },
    /// The prompt, or the prompt with one token more, does not fit the model's context.
    #[error("the prompt has {tokens} tokens, the model's context holds {limit}")]
    ContextTooLong {
        /// Tokens of the prompt.
        tokens: u64,
        /// Tokens of the context.
        limit: u32,
    },
    /// The model can't do this: embed with a generator, generate with an embedder.
    #[error("model {id} can't {operation}")]
    Unsuited {
        /// The model.
        id: ModelId,
        /// What it was asked to do, as a verb.
        operation: Cow<'static, str>,
    },
    /// The model is loading, or its queue is full. The same request may succeed later.
    #[error("model {id} is busy: {reason}")]
    Busy {
        /// The model.
        id: ModelId,
        /// What it is busy with.
        reason: String,
    },
    /// A field of the request is out of range.
    #[error("{field}: {what}")]
    InvalidRequest {
        /// The field.
        field: Cow<'static, str>,
        /// What is wrong with it.
        what: String,
    },
    /// Every replica that could be asked is on a node that is gone. What was made before is not lost.
    #[error("no replica of model {id} can be reached: {reason}")]
    Unreachable {
        /// The model.
        id: ModelId,
        /// What was tried last.
        reason: String,
    },
    /// The engine failed; a bug, or a replica that was stopped under the request.
    #[error("the model failed: {what}")]
    Failed {
        /// What happened.
        what: String,
    },
}

impl ModelError {
    /// The code of the closed list.
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::NotFound { .. } => ErrorCode::ModelNotFound,
            Self::FileInvalid { .. } => ErrorCode::ModelFileInvalid,
            Self::DeviceMemory { .. } => ErrorCode::DeviceMemory,
            Self::DeviceFailed { .. } => ErrorCode::DeviceFailed,
            Self::ContextTooLong { .. } => ErrorCode::ContextTooLong,
            Self::Unsuited { .. } => ErrorCode::ModelUnsuited,
            Self::Busy { .. } => ErrorCode::ModelBusy,
            Self::InvalidRequest { .. } => ErrorCode::InvalidRequest,
            Self::Unreachable { .. } => ErrorCode::NodeUnreachable,
            Self::Failed { .. } => ErrorCode::Internal,
        }
    }
}
