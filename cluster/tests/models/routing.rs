//! The way from a request to a replica: the least busy, the one that knows the prefix, and another when that is lost.

use futures::StreamExt;
use steward_inference::{
    ChatMessage, Completion, FinishReason, GenerateRequest, Generation, GenerationEvent, ModelError, Prompt,
};

use super::world::{TestNode, World, counts};

const MODEL: &str = "m-90000";
const TEXT: &str = "one two three four five six seven eight nine ten";

/// Two nodes that have the model, and one that has none.
async fn three(world: &World) -> (TestNode, TestNode, TestNode) {
    let (first, second) = (world.node(1, 100_000, &[MODEL]).await, world.node(2, 100_000, &[MODEL]).await);
    let asking = world.node(3, 10, &[MODEL]).await;
    first.add(MODEL, "2").await.unwrap();
    asking.until_on(world, MODEL, &[&first, &second]).await;
    (first, second, asking)
}

/// Begins a generation that stays unfinished for want of credit.
async fn open(node: &TestNode, messages: &[ChatMessage]) -> Generation {
    node.model(MODEL).await.generate(GenerateRequest::chat(messages.to_vec())).await.unwrap()
}

async fn token(generation: &mut Generation) -> String {
    match generation.next().await {
        Some(Ok(GenerationEvent::Token { text, .. })) => text,
        other => panic!("no token: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_on_another_node_answers_as_one_of_this_node_would() {
    let world = World::new();
    let (first, _second, asking) = three(&world).await;
    let (near, far) = (first.model(MODEL).await, asking.model(MODEL).await);
    assert_eq!(near.card(), far.card());
    let prompt = Prompt::Messages(vec![ChatMessage::user(TEXT)]);
    assert_eq!(far.count_tokens(&prompt).await, near.count_tokens(&prompt).await);
    let texts = vec![TEXT.to_owned(), "another".to_owned()];
    assert_eq!(far.embed(texts.clone()).await, near.embed(texts).await);
    let request = GenerateRequest::text(TEXT);
    let completed: Completion = far.generate(request.clone()).await.unwrap().complete().await.unwrap();
    assert_eq!((completed.text.as_str(), completed.finish_reason), (TEXT, FinishReason::Stop));
    assert_eq!(completed, near.generate(request).await.unwrap().complete().await.unwrap());
    // What the model refuses is refused in its own words.
    let long = GenerateRequest::text("word ".repeat(9_000));
    assert!(matches!(far.generate(long).await, Err(ModelError::ContextTooLong { limit: 8_192, .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generation_far_away_makes_what_is_granted_and_stops_where_its_listener_does() {
    let world = World::new();
    let (first, second, asking) = three(&world).await;
    let model = asking.model(MODEL).await;
    let mut generation = model.generate(GenerateRequest::text(TEXT)).await.unwrap();
    let credit = generation.credit();
    credit.grant(2);
    assert_eq!((token(&mut generation).await, token(&mut generation).await), ("one".to_owned(), " two".to_owned()));
    assert!(futures::poll!(generation.next()).is_pending());
    assert_eq!(credit.remaining(), 0);
    credit.grant(1);
    assert_eq!(token(&mut generation).await, " three");
    credit.finish();
    let end = generation.next().await.unwrap().unwrap();
    let GenerationEvent::Finished { usage, finish_reason } = end else { panic!("{end:?}") };
    assert_eq!((usage.completion_tokens, finish_reason), (3, FinishReason::Budget));
    assert!(generation.next().await.is_none());
    drop(generation);
    let abandoned = model.generate(GenerateRequest::text(TEXT)).await.unwrap();
    let serving = || first.models.serving() + second.models.serving();
    assert!(serving() > 0);
    drop(abandoned);
    let nobody = async {
        while serving() > 0 {
            tokio::task::yield_now().await;
        }
    };
    world.soon("the far end gives it up", nobody).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_goes_to_the_least_busy_and_a_conversation_to_where_it_was() {
    let world = World::new();
    let (first, second, asking) = three(&world).await;
    let mut open_ones = Vec::new();
    for number in 0..6 {
        open_ones.push(open(&asking, &[ChatMessage::user(format!("talk {number}"))]).await);
    }
    assert_eq!((first.begun(), second.begun()), (3, 3));
    // A conversation comes back, though the other node is no busier.
    let mut talk = vec![ChatMessage::system("Be kind."), ChatMessage::user("hello")];
    open_ones.push(open(&asking, &talk).await);
    let home = if first.begun() > second.begun() { &first } else { &second };
    for turn in 0..3 {
        talk.extend([ChatMessage::assistant("an answer"), ChatMessage::user(format!("turn {turn}"))]);
        open_ones.push(open(&asking, &talk).await);
        assert_eq!(home.begun(), 5 + turn, "{:?}", counts(&[&first, &second]));
    }
    // Not for ever: where it is much busier than elsewhere, the prefix is not worth the wait.
    for turn in 3..6 {
        talk.extend([ChatMessage::assistant("an answer"), ChatMessage::user(format!("turn {turn}"))]);
        open_ones.push(open(&asking, &talk).await);
    }
    assert!(first.begun().abs_diff(second.begun()) <= 5, "{:?}", counts(&[&first, &second]));
    // A node that has the model itself asks nobody when all are alike.
    drop(open_ones);
    let before = first.begun();
    open(&first, &[ChatMessage::user("at home")]).await;
    assert_eq!(first.begun(), before + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generation_whose_node_dies_goes_on_elsewhere_without_losing_or_repeating_a_token() {
    let world = World::new();
    let (first, second, asking) = three(&world).await;
    let mut generation = asking.model(MODEL).await.generate(GenerateRequest::text(TEXT)).await.unwrap();
    let credit = generation.credit();
    credit.grant(4);
    let mut text = String::new();
    for _ in 0..4 {
        text.push_str(&token(&mut generation).await);
    }
    let (victim, survivor) = if first.begun() > 0 { (first, second) } else { (second, first) };
    victim.kill().await;
    credit.grant(3);
    for _ in 0..3 {
        text.push_str(&world.soon("the next token", token(&mut generation)).await);
    }
    assert_eq!(text, "one two three four five six seven");
    // The survivor has made the first four again, under the same seven that were granted.
    assert_eq!((survivor.begun(), credit.total().tokens, credit.remaining()), (1, 7, 0));
    assert!(futures::poll!(generation.next()).is_pending());
    credit.grant(100);
    let rest = world.soon("the end", generation.collect::<Vec<_>>()).await;
    let Some(Ok(GenerationEvent::Finished { usage, finish_reason })) = rest.last() else { panic!("{rest:?}") };
    assert_eq!((rest.len(), usage.completion_tokens, *finish_reason), (4, 10, FinishReason::Stop));
}
