//! What can be asked of a trigger, and what it answers.

use serde::{Deserialize, Serialize};
use steward_storage::StoreError;
use steward_types::ErrorCode;

use super::feed::Outcome;
use super::looking::Look;
use super::record::Resume;
use super::status::TriggerStatus;

/// What can be asked of a trigger.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum TriggerRequest {
    /// Be there, and look at what the agent now says.
    Wake,
    /// How it is.
    Status,
    /// Go on after it stopped.
    Resume(Resume),
}

/// What a trigger answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum TriggerResponse {
    /// It is done.
    Done,
    /// How it is.
    Status(Box<TriggerStatus>),
    /// Not done, and why.
    Refused(ErrorCode, String),
}

/// What a trigger's workers say.
#[derive(Debug)]
pub struct TriggerEvent(pub(super) Said);

/// The same, told apart.
#[derive(Debug)]
pub(super) enum Said {
    /// What the agent, the chain and the sessions look like.
    Looked(Box<Look>),
    /// How the sessions that were asked for went.
    Started(Vec<Outcome>),
    /// The store failed while it was looked.
    Failed(StoreError),
    /// It is time to look again.
    Woken,
}
