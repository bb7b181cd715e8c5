//! What a prefilled and a decoded token cost in processor time, on a real model:
//! `cargo bench -p steward-inference-candle -- path/to/model.gguf`, or with `STEWARD_MODEL` set to the path.
#![expect(clippy::print_stdout, reason = "a benchmark's answer is what it prints")]

use std::sync::Arc;

use futures::StreamExt;
use steward_inference::{DeviceBudget, GenerateRequest, GenerationEvent, Model, ModelSource, Sampling};
use steward_inference_candle::CandleLoader;
use steward_types::{Clock, SystemClock};

const TOKENS: u32 = 64;
const SENTENCE: &str = "The keeper of the lighthouse wrote down the weather every evening before he lit the lamp. ";

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let argument = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    let Some(path) = argument.or_else(|| std::env::var("STEWARD_MODEL").ok()) else {
        println!("skipped: name a GGUF file as the argument or in STEWARD_MODEL");
        return;
    };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let device = DeviceBudget::new("cpu", 16 << 30);
    let source = ModelSource::new("bench".parse().expect("a good name"), path);
    let before = clock.monotonic();
    let model = CandleLoader::new(Arc::clone(&clock)).open(&source, &device, &(Arc::new(|_| ()) as _));
    let model = model.expect("the model opens");
    println!("load             {:8.0} ms", (clock.monotonic() - before).as_secs_f64() * 1e3);
    run(&*model, &*clock, "warm-up", 0, 1, 1).await;
    for (name, first, sentences, sequences) in [
        ("short prompt", 10, 1, 1),
        ("long prompt", 20, 25, 1),
        ("known but end", 20, 26, 1),
        ("2 sequences", 30, 1, 2),
        ("4 sequences", 40, 1, 4),
        ("8 sequences", 50, 1, 8),
    ] {
        run(&*model, &*clock, name, first, sentences, sequences).await;
    }
}

/// Prompts begin with a number, from `first` on: what begins with another one is read from its start.
async fn run(model: &dyn Model, clock: &dyn Clock, name: &str, first: usize, sentences: usize, sequences: usize) {
    let start = (clock.monotonic(), processor_ms());
    let mut generations = Vec::new();
    let mut prompt_tokens = 0;
    for number in first..first + sequences {
        let mut request = GenerateRequest::text(format!("{number}. {}", SENTENCE.repeat(sentences)));
        request.sampling = Sampling::greedy();
        request.max_tokens = TOKENS;
        prompt_tokens += model.count_tokens(&request.prompt).await.expect("it counts");
        let generation = model.generate(request).await.expect("it starts");
        generation.credit().grant(1);
        generations.push(generation);
    }
    for generation in &mut generations {
        assert!(matches!(generation.next().await, Some(Ok(GenerationEvent::Token { .. }))), "a first token comes");
    }
    let read = (clock.monotonic(), processor_ms());
    let made: u32 = futures::future::join_all(generations.into_iter().map(|generation| generation.complete()))
        .await
        .into_iter()
        .map(|completion| completion.expect("it ends").usage.completion_tokens - 1)
        .sum();
    let end = (clock.monotonic(), processor_ms());
    let row = |what: &str, tokens: u32, from: (std::time::Duration, f64), to: (std::time::Duration, f64)| {
        let (wall, cpu) = ((to.0 - from.0).as_secs_f64() * 1e3, to.1 - from.1);
        let each = f64::from(tokens.max(1));
        println!("{name:13} {what:7} {tokens:5} tokens  {:7.2} ms wall  {:7.2} ms CPU each", wall / each, cpu / each);
    };
    row("prefill", prompt_tokens, start, read);
    row("decode", made, read, end);
}

/// Processor time that this process has used, from Linux's `/proc`; 0 elsewhere.
fn processor_ms() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks: f64 = after_name.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum();
    ticks * 10.0
}
