//! A whole pass of a small model stored in each way, beside the same in exact floats on the processor.

use std::sync::Arc;

use candle_core::quantized::GgmlDType;
use steward_inference_candle::llama::{KeyValueCache, Llama, Row};
use steward_inference_cuda::Gpu;

use super::card::{assert_near, gpu};
use super::exact::{CHAT, chat_logits, distance, exact, load};
use super::writer::{Gguf, SMALL, Sizes};

const WIDER: Sizes = Sizes { layers: 2, hidden: 256, wide: 512, heads: 4, kv_heads: 1, context: 256 };
const PROMPT: usize = 150;

fn token(at: usize) -> u32 {
    u32::try_from(at * 37 % 200 + 5).unwrap()
}

fn row(position: usize, token: u32) -> Row {
    Row { cache: 0, position, token, wants_logits: true }
}

/// The logits after each token of a prompt that is read in two chunks, and after each of some tokens that follow.
fn logits(llama: &mut Llama, follow: &[u32]) -> Vec<Vec<f32>> {
    let mut cache: KeyValueCache = llama.cache(PROMPT + follow.len()).unwrap();
    let prompt: Vec<Row> = (0..PROMPT).map(|at| row(at, token(at))).collect();
    let mut found = llama.forward(&prompt[..61], &mut [&mut cache]).unwrap();
    found.extend(llama.forward(&prompt[61..], &mut [&mut cache]).unwrap());
    for (at, &token) in follow.iter().enumerate() {
        found.extend(llama.forward(&[row(PROMPT + at, token)], &mut [&mut cache]).unwrap());
    }
    found
}

/// Where `STEWARD_MODEL` names SmolLM2: a real prompt, whose first token has the large activations that random weights
/// never show, read whole and token by token. It is compared with exact floats, since the processor's eight bits are
/// further from those than the card's twice eight.
#[test]
fn a_real_model_agrees_at_every_position() {
    let Some(gpu) = gpu("a real model's logits") else { return };
    let Some(path) = std::env::var_os("STEWARD_MODEL") else {
        return println!("a real model's logits skipped: STEWARD_MODEL names no model");
    };
    let file = std::fs::read(path).unwrap();
    let mut card = load(Some(&gpu), &file);
    let found = chat_logits(&mut card, 64);
    assert!(chat_logits(&mut card, 1) == found, "token by token it gives the same bits");
    let (exact, processor) = (chat_logits(&mut exact(&file), 64), chat_logits(&mut load(None, &file), 64));
    for (at, (found, exact)) in found.iter().zip(&exact).enumerate() {
        println!("{at}: {:?}", distance(std::slice::from_ref(found), std::slice::from_ref(exact)));
    }
    let all = distance(&found, &exact);
    println!("the card, beside exact floats: {all:?}");
    println!("the processor, beside exact floats: {:?}", distance(&processor, &exact));
    println!("the card, beside the processor: {:?}", distance(&found, &processor));
    assert!(all.same == CHAT.len() && all.divergence < 0.001 && all.share < 0.01, "{all:?}");
}

/// How far a pass may be from exact floats, as a share of the logits' length: twice eight bits of activations and 16 bits
/// of keys and values cost a third of this.
const SHARE: f32 = 0.005;

fn check(gpu: &Arc<Gpu>, dtype: GgmlDType, sizes: &Sizes) {
    let file = Gguf::llama_of(dtype, sizes).bytes();
    let (mut exact, mut card) = (exact(&file), load(Some(gpu), &file));
    assert!(card.is_batch_invariant());
    let follow: Vec<u32> = (0..8).map(|at| token(at + 1000)).collect();
    let (expected, found) = (logits(&mut exact, &follow), logits(&mut card, &follow));
    let what = format!("{dtype:?} {sizes:?}");
    let far = distance(&found, &expected);
    println!("{what}: {far:?} of {}", found.len());
    assert_near(&found.concat(), &expected.concat(), SHARE, &what);
    // Where two tokens are nearly alike, rounding may turn them; the weights are random, so that many are.
    assert!(far.same * 100 >= found.len() * 95 && far.divergence < 0.001, "{what}: {far:?} of {}", found.len());
}

#[test]
fn quants_that_the_kernels_keep_are_near_to_exact_floats() {
    let Some(gpu) = gpu("quantised models") else { return };
    for sizes in [&SMALL, &WIDER] {
        for dtype in [GgmlDType::Q4_0, GgmlDType::Q4_1, GgmlDType::Q5_0, GgmlDType::Q5_1, GgmlDType::Q8_0] {
            check(&gpu, dtype, sizes);
        }
    }
}

#[test]
fn floats_are_near_to_exact_floats() {
    let Some(gpu) = gpu("models of floats") else { return };
    for dtype in [GgmlDType::F32, GgmlDType::F16, GgmlDType::BF16] {
        check(&gpu, dtype, &SMALL);
    }
}

#[test]
fn quants_that_become_floats_are_near_to_exact_floats() {
    let Some(gpu) = gpu("models of K-quants") else { return };
    for dtype in [GgmlDType::Q2K, GgmlDType::Q3K, GgmlDType::Q4K, GgmlDType::Q5K, GgmlDType::Q6K] {
        check(&gpu, dtype, &WIDER);
    }
}

/// Sequences that share batches in changing company get, bit for bit, what each gets alone.
#[test]
fn a_sequence_gets_the_same_bits_in_every_company() {
    let Some(gpu) = gpu("batches") else { return };
    for dtype in [GgmlDType::Q4_1, GgmlDType::F16] {
        let mut llama = load(Some(&gpu), &Gguf::llama(dtype).bytes());
        let alone = logits(&mut llama, &[7, 8, 9]);
        let mut caches: Vec<KeyValueCache> = (0..40).map(|_| llama.cache(PROMPT + 3).unwrap()).collect();
        let mut caches: Vec<&mut KeyValueCache> = caches.iter_mut().collect();
        let mut found = vec![Vec::new(); 40];
        // Each sequence is a step behind the one before, so that chunks of prompts meet single tokens.
        for step in 0usize..46 {
            let mut rows = Vec::new();
            for cache in 0..40usize {
                let Some(at) = step.checked_sub(cache).filter(|at| *at < 6) else { continue };
                let (from, to) = [(0, 50), (50, 140), (140, 150), (150, 151), (151, 152), (152, 153)][at];
                rows.extend((from..to).map(|at| {
                    let token = if at < PROMPT { token(at) } else { [7, 8, 9][at - PROMPT] };
                    Row { cache, ..row(at, token) }
                }));
            }
            for (row, logits) in rows.iter().zip(llama.forward(&rows, &mut caches).unwrap()) {
                found[row.cache].push(logits);
            }
        }
        assert!(found.iter().all(|own| *own == alone), "{dtype:?}");
    }
}
