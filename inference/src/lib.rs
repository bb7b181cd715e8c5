//! The Model port: generation, embedding, device accounting, and a scripted model for tests.
//!
//! It knows nothing of actors, money or files' formats; a driver below this folder brings one engine.

mod card;
pub mod conformance;
mod device;
mod error;
mod generation;
mod model;
mod request;
mod scripted;
mod stop;

pub use card::{ModelCard, ModelFamily, ModelHash};
pub use device::{DeviceBudget, DeviceKind, DeviceSnapshot, Devices, Reservation, Spare};
pub use error::ModelError;
pub use generation::{
    Completion, Credit, CreditState, CreditTotal, FinishReason, Generation, GenerationEvent, GenerationSink, Usage,
};
pub use model::{Embedded, LoadProgress, LoadStage, Model, ModelLoader, ModelSource, ProgressSink, ReplicaLoad};
pub use request::{ChatMessage, GenerateRequest, Prompt, Role, Sampling};
pub use scripted::{ScriptedLoader, ScriptedModel};
pub use stop::{Scanned, StopScanner};
