//! A model on a GPU as the rest of the program uses it.

use std::path::Path;
use std::sync::Arc;

use candle_core::quantized::GgmlDType;
use futures::StreamExt;
use steward_inference::{
    ChatMessage, DeviceBudget, FinishReason, GenerateRequest, Model, ModelError, ModelSource, Sampling, conformance,
};
use steward_inference_candle::CandleLoader;
use steward_inference_cuda::Gpu;
use steward_types::limits::REPLICA_ACTIVE_GPU_MAX;
use steward_types::{ErrorCode, SystemClock};

use super::card::gpu;
use super::writer::{Gguf, bert, open, write};

fn open_on(gpu: &Arc<Gpu>, path: &Path, device: &Arc<DeviceBudget>) -> Result<Arc<dyn Model>, ModelError> {
    let source = ModelSource::new("test".parse().unwrap(), path);
    let loader = CandleLoader::new(Arc::new(SystemClock::new())).with_gpus(vec![Arc::clone(gpu)]);
    loader.open(&source, device, &(Arc::new(|_| ()) as _))
}

fn small(gpu: &Arc<Gpu>, dtype: GgmlDType) -> (tempfile::TempDir, Arc<dyn Model>) {
    let (folder, path) = write(&Gguf::llama(dtype).bytes());
    let model = open_on(gpu, &path, &DeviceBudget::new(gpu.device(), 1 << 30)).unwrap();
    (folder, model)
}

fn greedy(text: &str) -> GenerateRequest {
    let mut request = GenerateRequest::text(text);
    request.sampling = Sampling::greedy();
    request.max_tokens = 8;
    request
}

async fn text(model: &dyn Model, request: GenerateRequest) -> String {
    model.generate(request).await.unwrap().complete().await.unwrap().text
}

#[tokio::test]
async fn it_conforms_however_its_weights_are_stored() {
    let Some(gpu) = gpu("conformance") else { return };
    for dtype in [GgmlDType::Q4_1, GgmlDType::Q8_0, GgmlDType::Q5_1, GgmlDType::F32] {
        conformance::generates(&*small(&gpu, dtype).1).await;
    }
}

#[tokio::test]
async fn it_says_what_the_processor_says() {
    let Some(gpu) = gpu("texts") else { return };
    for dtype in [GgmlDType::Q4_1, GgmlDType::Q8_0, GgmlDType::F32] {
        let (folder, model) = small(&gpu, dtype);
        let other = open(folder.path().join("model.gguf")).unwrap();
        for prompt in ["the cat", "and then in the end", "0123456789"] {
            assert_eq!(text(&*model, greedy(prompt)).await, text(&*other, greedy(prompt)).await, "{dtype:?} {prompt}");
        }
        assert_eq!(model.card(), other.card(), "what a model is does not depend on its device");
    }
}

#[tokio::test]
async fn more_sequences_than_may_be_active_all_end_alike() {
    let Some(gpu) = gpu("a crowd") else { return };
    let (_folder, model) = small(&gpu, GgmlDType::Q4_1);
    let alone = text(&*model, greedy("hello")).await;
    let crowd = (0..REPLICA_ACTIVE_GPU_MAX * 2).map(|_| text(&*model, greedy("hello")));
    assert!(futures::future::join_all(crowd).await.iter().all(|together| *together == alone));
}

#[tokio::test]
async fn a_known_beginning_is_not_read_again_and_changes_nothing() {
    let Some(gpu) = gpu("prefixes") else { return };
    let ((_folder, fresh), (_other, used)) = (small(&gpu, GgmlDType::Q8_0), small(&gpu, GgmlDType::Q8_0));
    let prompt = |end: &str| greedy(&format!("a long beginning that two prompts have in common, {end}"));
    let alone = fresh.generate(prompt("and then")).await.unwrap().complete().await.unwrap();
    text(&*used, prompt("or not")).await;
    let after = used.generate(prompt("and then")).await.unwrap().complete().await.unwrap();
    assert_eq!((after.text, alone.usage.cached_tokens), (alone.text, 0));
    assert!(after.usage.cached_tokens >= 25, "{:?}", after.usage);
}

#[tokio::test]
async fn a_cancelled_generation_gives_its_memory_back() {
    let Some(gpu) = gpu("cancellation") else { return };
    let (_folder, path) = write(&Gguf::llama(GgmlDType::Q4_1).bytes());
    let device = DeviceBudget::new(gpu.device(), 1 << 30);
    let model = open_on(&gpu, &path, &device).unwrap();
    let at_rest = device.snapshot().used_bytes;
    let mut generation = model.generate(greedy("hello")).await.unwrap();
    generation.credit().grant(1);
    assert!(generation.next().await.unwrap().is_ok());
    assert!(device.snapshot().used_bytes > at_rest);
    drop(generation);
    while device.snapshot().used_bytes > at_rest {
        tokio::task::yield_now().await;
    }
    drop(model);
    while device.snapshot().used_bytes > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_does_not_fit_is_refused_before_it_is_loaded() {
    let Some(gpu) = gpu("refusal") else { return };
    let (_folder, path) = write(&Gguf::llama(GgmlDType::Q4_1).bytes());
    let small = DeviceBudget::new(gpu.device(), 1 << 20);
    let refused = open_on(&gpu, &path, &small).unwrap_err();
    assert_eq!(refused.code(), ErrorCode::DeviceMemory);
    assert!(refused.to_string().contains(gpu.device()), "{refused}");
    assert!(small.snapshot().used_bytes == 0);
    // The budget allows what the card has not: the card refuses, by name and size, and goes on.
    let cache = steward_inference_cuda::CacheShape { layers: 64, kv_heads: 64, head_size: 128 };
    let too_large = steward_inference_cuda::Cache::new(&gpu, cache, 1 << 20).unwrap_err();
    assert!(matches!(too_large, steward_inference_cuda::GpuError::OutOfMemory { .. }), "{too_large}");
    open_on(&gpu, &path, &DeviceBudget::new(gpu.device(), 1 << 40)).unwrap();
}

#[tokio::test]
async fn an_embedder_is_refused() {
    let Some(gpu) = gpu("embedder") else { return };
    let folder = tempfile::tempdir().unwrap();
    bert(folder.path());
    let refused = open_on(&gpu, folder.path(), &DeviceBudget::new(gpu.device(), 1 << 30)).unwrap_err();
    assert_eq!(refused.code(), ErrorCode::ModelUnsuited);
}

/// On a machine with or without a GPU: memory that is named after a GPU is never quietly the processor's.
#[test]
fn a_gpu_that_was_not_opened_is_no_device() {
    let (_folder, path) = write(&Gguf::llama(GgmlDType::Q4_1).bytes());
    let refused = super::writer::open_on(path, &DeviceBudget::new("cuda:7", 1 << 30)).unwrap_err();
    assert_eq!(refused.code(), ErrorCode::DeviceFailed);
    assert!(refused.to_string().contains("cuda:7"), "{refused}");
}

#[tokio::test]
async fn a_real_generator_answers_and_conforms() {
    let Some(gpu) = gpu("a real generator") else { return };
    let Some(path) = std::env::var_os("STEWARD_MODEL") else {
        return println!("a real generator skipped: STEWARD_MODEL names no SmolLM2-135M-Instruct");
    };
    let memory = gpu.memory().unwrap().free_bytes;
    let model = open_on(&gpu, Path::new(&path), &DeviceBudget::new(gpu.device(), memory)).unwrap();
    let mut request = GenerateRequest::chat(vec![ChatMessage::user("What is the capital of France?")]);
    request.sampling = Sampling::greedy();
    request.max_tokens = 32;
    let completion = model.generate(request).await.unwrap().complete().await.unwrap();
    println!("{completion:?}");
    assert!(completion.text.contains("Paris"), "{completion:?}");
    assert_eq!(completion.finish_reason, FinishReason::Stop);
    conformance::generates(&*model).await;
}
