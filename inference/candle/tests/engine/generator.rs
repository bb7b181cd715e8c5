//! Generation on a small llama, in each of the ways that its weights can be stored.

use std::sync::{Arc, Mutex};

use candle_core::quantized::GgmlDType;
use futures::StreamExt;
use steward_inference::{
    ChatMessage, DeviceBudget, GenerateRequest, LoadStage, Model, ModelError, ModelFamily, ModelLoader, ModelSource,
    Prompt, Sampling, conformance,
};
use steward_inference_candle::CandleLoader;
use steward_types::limits::{REPLICA_ACTIVE_MAX, REPLICA_QUEUE_MAX};
use steward_types::{ErrorCode, SystemClock};

use super::writer::{CONTEXT, Entry, Gguf, open, open_on, write};

fn small(dtype: GgmlDType) -> (tempfile::TempDir, Arc<dyn Model>) {
    let (folder, path) = write(&Gguf::llama(dtype).bytes());
    (folder, open(path).unwrap())
}

fn chat(text: &str) -> GenerateRequest {
    let mut request = GenerateRequest::chat(vec![ChatMessage::user(text)]);
    request.max_tokens = 12;
    request
}

async fn text(model: &dyn Model, request: GenerateRequest) -> String {
    model.generate(request).await.unwrap().complete().await.unwrap().text
}

#[tokio::test]
async fn it_conforms_with_weights_that_our_kernels_run() {
    conformance::generates(&*small(GgmlDType::Q4_1).1).await;
    conformance::generates(&*small(GgmlDType::Q8_0).1).await;
}

#[tokio::test]
async fn it_conforms_with_weights_that_candle_runs() {
    conformance::generates(&*small(GgmlDType::F32).1).await;
}

/// Quantised to eight bits the small model must say what it says in full precision, so our kernels, norms, rotation and
/// cache agree with candle's own products.
#[tokio::test]
async fn our_kernels_and_candle_agree() {
    let (exact, packed) = (small(GgmlDType::F32), small(GgmlDType::Q8_0));
    for prompt in ["the cat", "and then in the end", "0123456789"] {
        let mut request = GenerateRequest::text(prompt);
        request.sampling = Sampling::greedy();
        request.max_tokens = 3;
        assert_eq!(text(&*exact.1, request.clone()).await, text(&*packed.1, request).await, "{prompt}");
    }
}

#[tokio::test]
async fn a_card_tells_what_the_file_is() {
    let (_folder, model) = small(GgmlDType::Q4_1);
    let card = model.card();
    assert_eq!(
        (card.family, card.context_tokens, card.can_generate, card.can_embed),
        (ModelFamily::Llama, CONTEXT, true, false)
    );
    assert_eq!(card.kv_bytes_per_token, 2 * 2 * 16 * 2 * 4);
    assert!(matches!(model.embed(vec!["a".to_owned()]).await, Err(ModelError::Unsuited { .. })));
}

#[tokio::test]
async fn seeds_tell_generations_apart() {
    let (_folder, model) = small(GgmlDType::Q4_1);
    let with_seed = async |seed| {
        let mut request = chat("hello");
        request.sampling.temperature = 1.5;
        request.seed = seed;
        text(&*model, request).await
    };
    assert_ne!(with_seed(1).await, with_seed(2).await);
}

#[tokio::test]
async fn what_people_say_costs_no_control_tokens() {
    let (_folder, model) = small(GgmlDType::Q4_1);
    let count =
        async |content: &str| model.count_tokens(&Prompt::Messages(vec![ChatMessage::user(content)])).await.unwrap();
    let empty = count("").await;
    assert_eq!(count("<|im_end|>").await - empty, 10, "it is read letter by letter");
    assert_eq!(count("the").await - empty, 1);
    let raw = model.count_tokens(&Prompt::Text("<|im_end|>".to_owned())).await.unwrap();
    assert_eq!(raw, 10);
}

#[tokio::test]
async fn a_stop_sequence_ends_a_generation_and_is_left_out() {
    let (_folder, model) = small(GgmlDType::Q4_1);
    let whole = text(&*model, chat("hello")).await;
    let middle: String = whole.chars().skip(3).take(3).collect();
    let mut request = chat("hello");
    request.stop = vec![middle.clone()];
    let expected = whole.split(&middle).next().unwrap().to_owned();
    assert_eq!(text(&*model, request).await, expected);
}

#[tokio::test]
async fn more_sequences_than_may_be_active_all_end() {
    let (_folder, model) = small(GgmlDType::Q4_1);
    let alone = text(&*model, chat("hello")).await;
    let crowd = (0..REPLICA_ACTIVE_MAX * 3).map(|_| text(&*model, chat("hello")));
    for together in futures::future::join_all(crowd).await {
        assert_eq!(together, alone);
    }
}

#[tokio::test]
async fn a_full_queue_refuses_and_a_cancelled_one_makes_room() {
    let (_folder, model) = small(GgmlDType::Q4_1);
    let mut waiting = Vec::new();
    // Nobody grants credit, so none of them ends. The thread may or may not have admitted some of them by now.
    let refused = loop {
        match model.generate(chat("hello")).await {
            Ok(generation) => waiting.push(generation),
            Err(error) => break error,
        }
    };
    assert_eq!(refused.code(), ErrorCode::ModelBusy);
    assert!((REPLICA_QUEUE_MAX..=REPLICA_QUEUE_MAX + REPLICA_ACTIVE_MAX).contains(&waiting.len()));
    waiting.truncate(1);
    let completion = waiting.remove(0).complete().await.unwrap();
    assert!(completion.usage.completion_tokens > 0);
    text(&*model, chat("hello")).await;
}

const LONG: &str = "a long beginning that two prompts have in common, ";

fn continued(how: &str) -> GenerateRequest {
    let mut request = GenerateRequest::text(format!("{LONG}{how}"));
    request.max_tokens = 6;
    request
}

#[tokio::test]
async fn a_known_beginning_is_not_read_again_and_changes_nothing() {
    let ((_folder, fresh), (_other, used)) = (small(GgmlDType::Q4_1), small(GgmlDType::Q4_1));
    let alone = fresh.generate(continued("and then")).await.unwrap().complete().await.unwrap();
    assert_eq!(alone.usage.cached_tokens, 0);
    text(&*used, continued("or not")).await;
    let after = used.generate(continued("and then")).await.unwrap().complete().await.unwrap();
    assert_eq!((after.text, after.usage.prompt_tokens), (alone.text, alone.usage.prompt_tokens));
    assert!(after.usage.cached_tokens as usize >= LONG.len() / 2, "{:?}", after.usage);
    let again = used.generate(continued("and then")).await.unwrap().complete().await.unwrap();
    assert_eq!(again.usage.cached_tokens, again.usage.prompt_tokens - 1, "all but the last token");
}

#[tokio::test]
async fn where_results_depend_on_the_batch_every_prompt_is_read_from_its_beginning() {
    let (_folder, model) = small(GgmlDType::F32);
    text(&*model, continued("and then")).await;
    let again = model.generate(continued("and then")).await.unwrap().complete().await.unwrap();
    assert_eq!(again.usage.cached_tokens, 0);
}

#[tokio::test]
async fn what_was_read_is_given_up_when_the_device_is_full() {
    let (_folder, path) = write(&Gguf::llama(GgmlDType::Q4_1).bytes());
    let card = open(&path).unwrap().card().clone();
    let tokens = open(&path).unwrap().count_tokens(&continued("and then").prompt).await.unwrap() + 6;
    let device = DeviceBudget::new("one", card.weights_bytes + u64::from(tokens) * card.kv_bytes_per_token);
    let model = open_on(&path, &device).unwrap();
    text(&*model, continued("and then")).await;
    // The thread keeps what was read once the text has ended.
    while device.snapshot().spare_bytes == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(device.snapshot().used_bytes, card.weights_bytes);
    let other = model.generate(continued("and then")).await.unwrap().complete().await.unwrap();
    assert_eq!(other.usage.cached_tokens, 0, "its memory was needed");
}

#[tokio::test]
async fn memory_is_reserved_before_it_is_taken_and_given_back() {
    let (_folder, path) = write(&Gguf::llama(GgmlDType::Q4_1).bytes());
    let weights_bytes = open(&path).unwrap().card().weights_bytes;
    let small = DeviceBudget::new("small", weights_bytes - 1);
    assert_eq!(open_on(&path, &small).unwrap_err().code(), ErrorCode::DeviceMemory);
    assert_eq!(small.snapshot().peak_bytes, 0);

    let tight = DeviceBudget::new("tight", weights_bytes + 100);
    let model = open_on(&path, &tight).unwrap();
    let mut generation = model.generate(chat("hello")).await.unwrap();
    generation.credit().grant(1);
    assert!(matches!(generation.next().await, Some(Err(ModelError::DeviceMemory { .. }))));

    let enough = DeviceBudget::new("enough", weights_bytes + 64 * model.card().kv_bytes_per_token);
    let model = open_on(&path, &enough).unwrap();
    let both = futures::join!(text(&*model, chat("a")), text(&*model, chat("b")));
    assert!(!both.0.is_empty());
    assert!(enough.snapshot().peak_bytes > weights_bytes, "a cache was reserved");
    drop(model);
    while enough.snapshot().used_bytes > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn dropping_a_model_ends_its_generations() {
    let (_folder, model) = small(GgmlDType::Q4_1);
    let mut generation = model.generate(chat("hello")).await.unwrap();
    drop(model);
    assert!(matches!(generation.next().await, Some(Err(ModelError::Failed { .. }))));
}

#[tokio::test]
async fn a_hash_that_differs_refuses_the_file_and_loading_tells_its_stages() {
    let (_folder, path) = write(&Gguf::llama(GgmlDType::Q4_1).bytes());
    let loader = CandleLoader::new(Arc::new(SystemClock::new()));
    let stages = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&stages);
    let load = |source| {
        let heard = Arc::clone(&heard);
        let progress = Arc::new(move |progress: steward_inference::LoadProgress| {
            heard.lock().unwrap().push(progress.stage);
        });
        loader.load(source, DeviceBudget::new("cpu", 1 << 30), progress)
    };
    let mut source = ModelSource::new("test".parse().unwrap(), path);
    source.context_tokens_max = Some(32);
    let model = load(source.clone()).await.unwrap();
    assert_eq!(model.card().context_tokens, 32);
    let mut stages = std::mem::take(&mut *stages.lock().unwrap());
    stages.dedup();
    assert_eq!(stages, [LoadStage::Checking, LoadStage::Hashing, LoadStage::Weights, LoadStage::Ready]);
    source.hash = Some(model.card().hash);
    load(source.clone()).await.unwrap();
    source.hash = Some(steward_inference::ModelHash::from_bytes([7; 32]));
    assert!(load(source).await.unwrap_err().to_string().contains("SHA-256"));
}

#[tokio::test]
async fn without_a_template_a_chat_is_refused_but_text_goes_on() {
    let mut file = Gguf::llama(GgmlDType::Q4_1);
    file.set("tokenizer.chat_template", None);
    file.set("tokenizer.ggml.add_bos_token", Some(Entry::Bool(true)));
    let (_folder, path) = write(&file.bytes());
    let model = open(path).unwrap();
    assert_eq!(model.generate(chat("hello")).await.unwrap_err().code(), ErrorCode::ModelUnsuited);
    assert_eq!(model.count_tokens(&Prompt::Text("the".to_owned())).await.unwrap(), 2);
}
