//! A generation that nobody listens to any more stops within a token.

use candle_core::quantized::GgmlDType;
use futures::StreamExt as _;
use steward_inference::{GenerateRequest, Model, Sampling};

use super::writer::{CONTEXT, Gguf, open, write};

#[tokio::test]
async fn at_most_the_token_in_hand_is_made_after_a_generation_is_dropped() {
    let (_folder, path) = write(&Gguf::llama(GgmlDType::Q4_1).bytes());
    let model = open(path).unwrap();
    // The replica's thread may be done with all that was granted before this one gets to drop: then once more.
    while !is_cancelled_on_its_way(&*model).await {}
}

/// Drops a generation after its first token, with credit for many more; whether that was before they were all made.
async fn is_cancelled_on_its_way(model: &dyn Model) -> bool {
    let mut request = GenerateRequest::text("the");
    request.sampling = Sampling { temperature: 1.5, ..Sampling::default() };
    request.max_tokens = CONTEXT / 2;
    let mut generation = model.generate(request).await.unwrap();
    let credit = generation.credit();
    credit.grant(1);
    generation.next().await.unwrap().unwrap();
    credit.grant(CONTEXT / 2);
    drop(generation);
    while model.load().active > 0 {
        tokio::task::yield_now().await;
    }
    assert!(credit.spent_after_cancellation() <= 1, "{credit:?}");
    credit.remaining() > 1
}
