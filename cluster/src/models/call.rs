//! What nodes ask each other about models, in MessagePack by names. Each question may be asked twice without harm: what
//! is counted is told as totals, and events are kept until the next question says that they came.

use std::fmt;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use steward_inference::{CreditTotal, GenerateRequest, GenerationEvent, ModelError, Prompt, ReplicaLoad, Usage};
use steward_types::ModelId;

/// The kind of call that carries a question.
pub(crate) const MODEL_CALL: u16 = 2;
/// The code of a refusal of what cannot be read.
pub(crate) const UNREADABLE: u16 = 2;

/// Names one generation between two nodes.
pub(super) type GenerationId = [u8; 16];

/// A question.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum Question {
    /// How many tokens a prompt has.
    Count { model: ModelId, prompt: Prompt },
    /// The vectors of texts.
    Embed { model: ModelId, texts: Vec<String> },
    /// Begins a generation, unless it has begun.
    Begin { model: ModelId, generation: GenerationId, request: Box<GenerateRequest> },
    /// The events after the first `received`, once there are some; and the credit so far.
    Follow { generation: GenerationId, received: u64, credit: CreditTotal },
    /// The credit so far.
    Grant { generation: GenerationId, credit: CreditTotal },
    /// Nobody listens any more.
    Cancel { generation: GenerationId },
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum Answer {
    Counted(u32),
    Embedded {
        vectors: Vec<Vec<f32>>,
        usage: Usage,
    },
    Begun {
        load: ReplicaLoad,
    },
    /// May be empty: there are none yet.
    Events {
        events: Vec<Result<GenerationEvent, ModelError>>,
        load: ReplicaLoad,
    },
    Done,
    /// The model is not ready on this node, or the generation is not known here: ask elsewhere.
    Absent,
    Failed(ModelError),
}

/// A message that cannot be read.
#[derive(Debug)]
pub(super) struct Unreadable(String);

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

pub(super) fn encode<T: Serialize>(message: &T) -> Result<Bytes, Unreadable> {
    rmp_serde::to_vec_named(message).map(Bytes::from).map_err(|error| Unreadable(error.to_string()))
}

pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Unreadable> {
    rmp_serde::from_slice(bytes).map_err(|error| Unreadable(error.to_string()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use steward_inference::FinishReason;

    use super::*;

    #[test]
    fn what_is_asked_and_answered_reads_back() {
        let model: ModelId = "m".parse().unwrap();
        let request = Box::new(GenerateRequest::text("go on"));
        let begin = Question::Begin { model: model.clone(), generation: [7; 16], request };
        assert_eq!(decode::<Question>(&encode(&begin).unwrap()).unwrap(), begin);
        let events = vec![
            Ok(GenerationEvent::Token { text: "é".to_owned(), index: 0 }),
            Ok(GenerationEvent::Finished { usage: Usage::default(), finish_reason: FinishReason::Budget }),
            Err(ModelError::InvalidRequest { field: "texts".into(), what: "too many".to_owned() }),
            Err(ModelError::Unsuited { id: model, operation: "embed".into() }),
        ];
        let answer = Answer::Events { events, load: ReplicaLoad { active: 1, waiting: 2 } };
        assert_eq!(decode::<Answer>(&encode(&answer).unwrap()).unwrap(), answer);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_no_question_and_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
            let _ = decode::<Question>(&bytes);
            let _ = decode::<Answer>(&bytes);
        }
    }
}
