//! Embedding with a small BERT.

use steward_inference::{GenerateRequest, ModelError, ModelFamily, Prompt};
use steward_types::limits::EMBED_TEXTS_MAX;

use super::writer::{bert, open};

#[tokio::test]
async fn a_vector_has_length_one_and_does_not_depend_on_its_batch() {
    let folder = tempfile::tempdir().unwrap();
    bert(folder.path());
    let model = open(folder.path()).unwrap();
    assert_eq!((model.card().family, model.card().embedding_dimensions), (ModelFamily::Bert, 32));
    let texts = ["the cat sat on the mat.", "a dog ran", ""].map(str::to_owned);
    let together = model.embed(texts.to_vec()).await.unwrap();
    assert_eq!(together.usage.prompt_tokens, 9 + 5 + 2);
    for (text, vector) in texts.iter().zip(&together.vectors) {
        let length: f32 = vector.iter().map(|x| x * x).sum();
        assert!((length - 1.0).abs() < 1e-5);
        assert_eq!(&model.embed(vec![text.clone()]).await.unwrap().vectors[0], vector);
    }
}

#[tokio::test]
async fn what_it_can_not_do_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    bert(folder.path());
    let model = open(folder.path()).unwrap();
    let generated = model.generate(GenerateRequest::text("the cat")).await;
    assert!(matches!(generated, Err(ModelError::Unsuited { .. })));
    let long = "cat ".repeat(31);
    assert_eq!(model.count_tokens(&Prompt::Text(long.clone())).await.unwrap(), 33);
    assert!(matches!(model.embed(vec![long]).await, Err(ModelError::ContextTooLong { tokens: 33, limit: 32 })));
    let many = vec![String::new(); EMBED_TEXTS_MAX + 1];
    assert!(matches!(model.embed(many).await, Err(ModelError::InvalidRequest { .. })));
}
