//! A device fails under a model: what it has begun goes on on another device of the node, token by token as if nothing
//! had happened, and what can go on nowhere ends with a reason.

use std::sync::Arc;

use candle_core::quantized::GgmlDType;
use futures::StreamExt;
use futures::future::join_all;
use steward_inference::{
    DeviceBudget, Devices, FinishReason, GenerateRequest, Generation, GenerationEvent, Model, ModelError, ModelSource,
    Usage,
};
use steward_inference_candle::CandleLoader;
use steward_types::limits::REPLICA_ACTIVE_MAX;
use steward_types::{ErrorCode, SystemClock};

use super::writer::{Gguf, open, write};

const FAILURE: &str = "CUDA_ERROR_ILLEGAL_ADDRESS";

/// A model on the first of two devices; each has so many bytes.
struct World {
    devices: [Arc<DeviceBudget>; 2],
    model: Arc<dyn Model>,
    _folder: tempfile::TempDir,
    path: std::path::PathBuf,
}

impl World {
    fn new(bytes: [u64; 2]) -> Self {
        let (folder, path) = write(&Gguf::llama(GgmlDType::Q4_1).bytes());
        let devices = [DeviceBudget::new("first", bytes[0]), DeviceBudget::new("second", bytes[1])];
        let both = Devices::new(devices.to_vec()).unwrap();
        let loader = CandleLoader::new(Arc::new(SystemClock::new())).with_devices(both);
        let source = ModelSource::new("test".parse().unwrap(), &path);
        let model = loader.open(&source, &devices[0], &(Arc::new(|_| ()) as _)).unwrap();
        Self { devices, model, _folder: folder, path }
    }

    fn on(&self) -> String {
        self.model.device().unwrap()
    }
}

fn request(number: u64) -> GenerateRequest {
    let mut request = GenerateRequest::text(format!("the beginning of text {number}, which goes on"));
    request.sampling.temperature = 1.2;
    request.sampling.repetition_penalty = 1.1;
    request.seed = number;
    request.max_tokens = 20;
    request
}

/// What a generation came to: its text, whether each index came once and in order, and its end.
async fn follow(mut generation: Generation, mut text: String, mut next: u32) -> (String, Usage, FinishReason) {
    while let Some(event) = generation.next().await {
        match event.unwrap() {
            GenerationEvent::Token { text: more, index } => {
                assert!(index == next || index + 1 == next, "token {index} comes where {next} was awaited");
                next = index + 1;
                text.push_str(&more);
            }
            GenerationEvent::Finished { usage, finish_reason } => return (text, usage, finish_reason),
        }
    }
    panic!("it ended without saying why");
}

/// More generations than are active at once, so that some wait; those that are active have made three tokens each.
#[tokio::test]
async fn what_was_begun_goes_on_elsewhere_as_if_nothing_had_happened() {
    let world = World::new([1 << 30; 2]);
    let undisturbed = open(&world.path).unwrap();
    let count = REPLICA_ACTIVE_MAX as u64 + 3;
    let mut begun = Vec::new();
    for number in 0..count {
        let mut generation = world.model.generate(request(number)).await.unwrap();
        generation.credit().grant(3);
        let (mut text, mut made) = (String::new(), 0);
        while number < REPLICA_ACTIVE_MAX as u64 && made < 3 {
            let Some(Ok(GenerationEvent::Token { text: more, index })) = generation.next().await else {
                panic!("three tokens were granted");
            };
            (made, text) = (index + 1, text + &more);
        }
        begun.push((generation, text, made));
    }
    assert_eq!(world.on(), "first");
    assert!(world.devices[0].fail(FAILURE), "nobody else has failed it");
    begun.iter().for_each(|(generation, ..)| generation.credit().grant(100));
    let ended = join_all(begun.into_iter().map(|(generation, text, made)| follow(generation, text, made))).await;
    for (number, (text, usage, reason)) in (0..count).zip(ended) {
        let expected = undisturbed.generate(request(number)).await.unwrap().complete().await.unwrap();
        assert_eq!((text, reason), (expected.text, expected.finish_reason), "generation {number}");
        let tokens = |usage: Usage| (usage.prompt_tokens, usage.completion_tokens);
        assert_eq!(tokens(usage), tokens(expected.usage), "generation {number} is billed once");
    }
    assert_eq!(world.on(), "second");
    let [first, second] = world.devices.each_ref().map(|device| device.snapshot());
    assert_eq!((first.used_bytes, first.spare_bytes, first.failure.as_deref()), (0, 0, Some(FAILURE)));
    assert!(second.owners.contains_key("test weights"), "{second:?}");
}

#[tokio::test]
async fn a_model_at_rest_goes_with_the_next_that_asks_it() {
    let world = World::new([1 << 30; 2]);
    let before = world.model.generate(request(1)).await.unwrap().complete().await.unwrap();
    world.devices[0].fail(FAILURE);
    let after = world.model.generate(request(1)).await.unwrap().complete().await.unwrap();
    assert_eq!((after.text, after.usage.cached_tokens), (before.text, 0), "what was kept went with its device");
    assert_eq!(world.on(), "second");
}

#[tokio::test]
async fn where_nothing_else_has_room_it_ends_with_the_reason_until_something_has() {
    let weights_bytes = World::new([1 << 30; 2]).model.card().weights_bytes;
    let world = World::new([1 << 30, weights_bytes + (1 << 20)]);
    let in_the_way = world.devices[1].reserve("another model", (1 << 20) + 1).unwrap();
    let mut generation = world.model.generate(request(1)).await.unwrap();
    generation.credit().grant(1);
    assert!(generation.next().await.unwrap().is_ok());
    world.devices[0].fail(FAILURE);
    generation.credit().grant(100);
    let refused = loop {
        match generation.next().await.unwrap() {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    let later = world.model.generate(request(2)).await.unwrap().complete().await.unwrap_err();
    for error in [refused, later] {
        assert_eq!(error.code(), ErrorCode::DeviceFailed);
        let ModelError::DeviceFailed { device, what, .. } = &error else { panic!("{error:?}") };
        assert_eq!(device, "first");
        assert!(what.contains(FAILURE) && what.contains("on device second, which has"), "{what}");
    }
    drop(in_the_way);
    world.model.generate(request(2)).await.unwrap().complete().await.unwrap();
    assert_eq!(world.on(), "second");
}
