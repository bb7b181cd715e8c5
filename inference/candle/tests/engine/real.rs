//! Real models, where `STEWARD_MODELS` names a folder that holds them. Says so when it is skipped.

use std::path::{Path, PathBuf};

use steward_inference::{ChatMessage, FinishReason, GenerateRequest, Prompt, Sampling, conformance};

use super::exact::{CHAT, chat_logits, distance, exact, load};
use super::writer::open;

fn find(folder: &Path, wanted: &dyn Fn(&Path) -> bool) -> Option<PathBuf> {
    let entries = std::fs::read_dir(folder).ok()?;
    entries
        .flatten()
        .map(|entry| entry.path())
        .find_map(|path| if path.is_dir() { find(&path, wanted) } else { wanted(&path).then_some(path) })
}

fn real(name: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("STEWARD_MODELS").map(PathBuf::from);
    let found = folder.and_then(|folder| find(&folder, &|path| path.ends_with(name)));
    if found.is_none() {
        println!("skipped: STEWARD_MODELS names no folder that holds {name}");
    }
    found
}

#[tokio::test]
async fn a_real_generator_answers_and_conforms() {
    let Some(path) = real("SmolLM2-135M-Instruct.Q4_1.gguf") else { return };
    let model = open(path).unwrap();
    let messages = vec![ChatMessage::user("What is the capital of France?")];
    // As the model's own tokenizer counts it, with the system message that its template adds.
    assert_eq!(model.count_tokens(&Prompt::Messages(messages.clone())).await.unwrap(), 37);
    let mut request = GenerateRequest::chat(messages);
    request.sampling = Sampling::greedy();
    request.max_tokens = 32;
    let completion = model.generate(request).await.unwrap().complete().await.unwrap();
    assert!(completion.text.contains("Paris"), "{completion:?}");
    assert_eq!(completion.finish_reason, FinishReason::Stop);
    conformance::generates(&*model).await;
}

/// The processor rounds activations to eight bits. Beside the first token's large ones that moves a position's logits by
/// up to a quarter of their length, and hardly changes what they say: the probabilities that they stand for.
#[test]
fn eight_bits_for_activations_cost_little_of_what_a_real_model_says() {
    let Some(path) = real("SmolLM2-135M-Instruct.Q4_1.gguf") else { return };
    let file = std::fs::read(path).unwrap();
    let far = distance(&chat_logits(&mut load(None, &file), 64), &chat_logits(&mut exact(&file), 64));
    println!("the processor, beside exact floats: {far:?}");
    assert!(far.same * 10 >= CHAT.len() * 9 && far.divergence < 0.1, "{far:?}");
}

#[tokio::test]
async fn a_real_embedder_puts_like_texts_near() {
    let Some(path) = real("model.safetensors") else { return };
    let model = open(path.parent().unwrap()).unwrap();
    assert_eq!((model.card().embedding_dimensions, model.card().context_tokens), (384, 256));
    conformance::embeds(&*model).await;
}
