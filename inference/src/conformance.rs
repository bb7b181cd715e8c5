//! What every model must do, checked against any implementation. Panics with what was broken; for tests.

use futures::StreamExt;

use crate::{
    ChatMessage, Completion, FinishReason, GenerateRequest, GenerationEvent, Model, ModelError, Prompt, Sampling, Usage,
};

/// Runs every check of generation. The model must make at least four tokens from a short prompt.
pub async fn generates(model: &dyn Model) {
    the_same_request_gives_the_same_tokens(model).await;
    interleaving_changes_nothing(model).await;
    credit_bounds_the_tokens_exactly(model).await;
    max_tokens_bounds_the_tokens_exactly(model).await;
    a_dropped_generation_leaves_the_model_usable(model).await;
    prompts_are_counted_as_they_are_billed(model).await;
    bad_requests_are_refused(model).await;
}

/// Runs every check of embedding.
pub async fn embeds(model: &dyn Model) {
    let texts = ["The cat sat on the mat.", "A cat sat on a mat.", "Stock prices fell sharply on Monday."];
    let embedded = model.embed(texts.map(str::to_owned).to_vec()).await.expect("texts are embedded");
    assert_eq!(embedded.vectors.len(), texts.len());
    assert!(embedded.usage.prompt_tokens > 0 && embedded.usage.completion_tokens == 0);
    for vector in &embedded.vectors {
        assert_eq!(vector.len(), model.card().embedding_dimensions as usize);
        assert!((dot(vector, vector) - 1.0).abs() < 1e-4, "a vector has the length 1");
    }
    let [near, far] = [1, 2].map(|other| dot(&embedded.vectors[0], &embedded.vectors[other]));
    assert!(near > far + 0.2, "texts alike are nearer ({near}) than texts unlike ({far})");
    let alone = model.embed(vec![texts[0].to_owned()]).await.expect("a text is embedded");
    let same = dot(&alone.vectors[0], &embedded.vectors[0]);
    assert!(same > 0.9999, "a text's vector does not depend on its batch ({same})");
    assert!(matches!(model.embed(vec![]).await, Err(ModelError::InvalidRequest { .. })));
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

fn request(seed: u64) -> GenerateRequest {
    let mut request = GenerateRequest::chat(vec![
        ChatMessage::system("You answer at length."),
        ChatMessage::user("Name the four seasons and say a word about each of them."),
    ]);
    request.sampling = Sampling { temperature: 0.9, ..Sampling::default() };
    request.max_tokens = 8;
    request.seed = seed;
    request
}

async fn complete(model: &dyn Model, request: GenerateRequest) -> Completion {
    let generation = model.generate(request).await.expect("a generation starts");
    generation.complete().await.expect("a generation ends")
}

fn tokens_and_text(completion: &Completion) -> (u32, u32, String, FinishReason) {
    let Usage { prompt_tokens, completion_tokens, .. } = completion.usage;
    (prompt_tokens, completion_tokens, completion.text.clone(), completion.finish_reason)
}

async fn the_same_request_gives_the_same_tokens(model: &dyn Model) {
    let first = complete(model, request(7)).await;
    let second = complete(model, request(7)).await;
    assert_eq!(tokens_and_text(&first), tokens_and_text(&second));
    assert!(first.usage.completion_tokens >= 4, "the model makes at least four tokens: {first:?}");
}

async fn interleaving_changes_nothing(model: &dyn Model) {
    let alone =
        [complete(model, request(1)).await, complete(model, request(2)).await, complete(model, request(3)).await];
    let together =
        futures::join!(complete(model, request(1)), complete(model, request(2)), complete(model, request(3)));
    let together = [together.0, together.1, together.2];
    assert_eq!(alone.each_ref().map(tokens_and_text), together.each_ref().map(tokens_and_text));
}

async fn credit_bounds_the_tokens_exactly(model: &dyn Model) {
    let mut generation = model.generate(request(7)).await.expect("a generation starts");
    let credit = generation.credit();
    credit.grant(2);
    let mut made = 0;
    while made < 2 {
        match generation.next().await {
            Some(Ok(GenerationEvent::Token { index, .. })) => made = index + 1,
            other => panic!("two tokens were granted, after {made} came {other:?}"),
        }
    }
    credit.grant(1);
    credit.finish();
    let mut ended = None;
    while let Some(event) = generation.next().await {
        match event.expect("the generation goes on") {
            GenerationEvent::Token { index, .. } => made = index + 1,
            GenerationEvent::Finished { usage, finish_reason } => ended = Some((usage, finish_reason)),
        }
    }
    let (usage, finish_reason) = ended.expect("a generation ends with `Finished`");
    assert_eq!((made, usage.completion_tokens, finish_reason), (3, 3, FinishReason::Budget));
}

async fn max_tokens_bounds_the_tokens_exactly(model: &dyn Model) {
    let mut short = request(7);
    short.max_tokens = 3;
    let (whole, cut) = (complete(model, request(7)).await, complete(model, short).await);
    assert_eq!((cut.usage.completion_tokens, cut.finish_reason), (3, FinishReason::Length));
    assert!(whole.text.starts_with(&cut.text), "{:?} goes on as {:?}", cut.text, whole.text);
}

async fn a_dropped_generation_leaves_the_model_usable(model: &dyn Model) {
    let mut generation = model.generate(request(7)).await.expect("a generation starts");
    generation.credit().grant(1);
    drop(generation.next().await);
    drop(generation);
    complete(model, request(7)).await;
}

async fn prompts_are_counted_as_they_are_billed(model: &dyn Model) {
    let request = request(7);
    let counted = model.count_tokens(&request.prompt).await.expect("tokens are counted");
    assert_eq!(complete(model, request).await.usage.prompt_tokens, counted);
}

async fn bad_requests_are_refused(model: &dyn Model) {
    let mut bad = request(7);
    bad.sampling.temperature = -1.0;
    assert!(matches!(model.generate(bad).await, Err(ModelError::InvalidRequest { .. })));
    let long = "word ".repeat(model.card().context_tokens as usize + 8);
    let too_long = model.generate(GenerateRequest::new(Prompt::Text(long))).await;
    assert!(matches!(too_long, Err(ModelError::ContextTooLong { .. })), "{too_long:?}");
}
