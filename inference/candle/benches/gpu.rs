//! Tokens a second on a GPU and on the processor, at several batches, of a real model and of a generated one with the
//! shapes of a 7B: `cargo bench -p steward-inference-candle --bench gpu -- path/to/model.gguf`, or with `STEWARD_MODEL`.
//! `large` instead of a path generates the large model, in 4 bits, in a temporary folder.
#![expect(clippy::print_stdout, reason = "a benchmark's answer is what it prints")]
#![expect(clippy::unwrap_used, reason = "the writer of small models is the tests'")]

#[path = "../tests/engine/writer.rs"]
#[expect(dead_code, reason = "the tests use the rest")]
mod writer;

use std::io::{BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use steward_inference_candle::gguf::Header;
use steward_inference_candle::llama::{KeyValueCache, Llama, LlamaConfig, Row};
use steward_inference_cuda::Gpu;
use steward_types::{Clock, Entropy, SeededEntropy, SystemClock};

/// Tokens that each sequence has read before it makes some.
const PROMPT: usize = 256;
/// Steps that are timed.
const STEPS: usize = 32;

fn main() {
    let argument = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    let Some(argument) = argument.or_else(|| std::env::var("STEWARD_MODEL").ok()) else {
        println!("skipped: name a GGUF file, or `large`, as the argument, or a file in STEWARD_MODEL");
        return;
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (path, is_large) = match argument.as_str() {
        "large" => (large(folder.path()), true),
        _ => (PathBuf::from(argument), false),
    };
    match Gpu::count() {
        Ok(0) => println!("no GPU: the NVIDIA driver knows of none"),
        Err(error) => println!("no GPU: {error}"),
        Ok(_) => {
            let gpu = Gpu::open(0).expect("the GPU opens");
            println!("{} is {}", gpu.device(), gpu.model());
            bench("gpu", load(Some(&gpu), &path), &[1, 2, 4, 8, 16, 32]);
        }
    }
    // On the processor the large one takes minutes and says nothing new.
    if !is_large {
        bench("cpu", load(None, &path), &[1, 8]);
    }
}

fn load(gpu: Option<&Arc<Gpu>>, path: &Path) -> Llama {
    let clock = SystemClock::new();
    let before = clock.monotonic();
    let file = std::fs::File::open(path).expect("the file opens");
    let bytes = file.metadata().expect("the file has a length").len();
    let header = Header::read(BufReader::new(&file), bytes).expect("the header is sound");
    let tokens = usize::try_from(header.tensors["token_embd.weight"].dimensions[1]).expect("a size");
    let config = LlamaConfig::check(&header, tokens).expect("the model is sound");
    let llama = Llama::load(gpu, file, &header, config, &mut |_| ()).expect("the model loads");
    let took = clock.monotonic().saturating_sub(before);
    println!("{bytes} bytes loaded in {:.2} s", took.as_secs_f64());
    llama
}

fn row(cache: usize, position: usize, wants_logits: bool) -> Row {
    let token = u32::try_from((position * 31 + cache) % 200 + 5).unwrap_or(5);
    Row { cache, position, token, wants_logits }
}

/// Every sequence reads a prompt in chunks, and then all of them make tokens together.
fn bench(name: &str, mut llama: Llama, batches: &[usize]) {
    let clock = SystemClock::new();
    for &batch in batches {
        let mut caches: Vec<KeyValueCache> =
            (0..batch).map(|_| llama.cache(PROMPT + STEPS + 2).expect("room for a cache")).collect();
        let mut caches: Vec<&mut KeyValueCache> = caches.iter_mut().collect();
        let started = clock.monotonic();
        for cache in 0..batch {
            let rows: Vec<Row> = (0..PROMPT).map(|at| row(cache, at, at + 1 == PROMPT)).collect();
            for rows in rows.chunks(llama.prompt_rows()) {
                llama.forward(rows, &mut caches).expect("a prompt is read");
            }
        }
        let read = clock.monotonic();
        let step = |llama: &mut Llama, at: usize, caches: &mut [&mut KeyValueCache]| {
            let rows: Vec<Row> = (0..batch).map(|cache| row(cache, PROMPT + at, true)).collect();
            llama.forward(&rows, caches).expect("a step is made")
        };
        step(&mut llama, 0, &mut caches);
        let warm = clock.monotonic();
        for at in 1..=STEPS {
            step(&mut llama, at, &mut caches);
        }
        let made = clock.monotonic();
        let rate = |tokens: usize, took: std::time::Duration| tokens as f64 / took.as_secs_f64();
        let each = made.saturating_sub(warm).as_secs_f64() * 1e3 / STEPS as f64;
        println!(
            "{name} batch {batch:3}: prefill {:9.0} tokens/s   decode {:9.0} tokens/s   {each:8.3} ms a step",
            rate(batch * PROMPT, read.saturating_sub(started)),
            rate(batch * STEPS, made.saturating_sub(warm)),
        );
    }
}

/// A model with the shapes of a 7B (32 layers, 4096 wide, 32 heads of 128) in Q4_1, every matrix of the same random bits.
fn large(folder: &Path) -> PathBuf {
    let mut file = writer::Gguf::llama_of(candle_core::quantized::GgmlDType::Q4_1, &writer::SMALL);
    let (layers, hidden, wide, heads) = (32usize, 4096usize, 11_008usize, 32usize);
    for (key, size) in [
        ("llama.block_count", layers),
        ("llama.context_length", 4096),
        ("llama.embedding_length", hidden),
        ("llama.feed_forward_length", wide),
        ("llama.attention.head_count", heads),
        ("llama.attention.head_count_kv", heads),
    ] {
        file.set(key, Some(writer::Entry::U32(u32::try_from(size).unwrap())));
    }
    let tokens = usize::try_from(file.tensors[0].1[1]).unwrap();
    file.tensors.clear();
    let ones = 1f32.to_le_bytes().repeat(hidden);
    let random = random_q4_1(wide * hidden);
    let mut add = |name: String, rows: usize, columns: usize| {
        let bytes = if rows == 1 { ones.clone() } else { random[..rows * columns / 32 * 20].to_vec() };
        let shape = if rows == 1 { vec![columns as u64] } else { vec![columns as u64, rows as u64] };
        file.tensors.push((format!("{name}.weight"), shape, if rows == 1 { 0 } else { 3 }, bytes));
    };
    add("token_embd".to_owned(), tokens, hidden);
    add("output_norm".to_owned(), 1, hidden);
    for layer in 0..layers {
        for (part, rows, columns) in [
            ("attn_norm", 1, hidden),
            ("ffn_norm", 1, hidden),
            ("attn_q", hidden, hidden),
            ("attn_k", hidden, hidden),
            ("attn_v", hidden, hidden),
            ("attn_output", hidden, hidden),
            ("ffn_gate", wide, hidden),
            ("ffn_up", wide, hidden),
            ("ffn_down", hidden, wide),
        ] {
            add(format!("blk.{layer}.{part}"), rows, columns);
        }
    }
    let path = folder.join("large.gguf");
    std::fs::File::create(&path).and_then(|mut to| to.write_all(&file.bytes())).expect("the model can be written");
    path
}

/// So many random weights in Q4_1: around zero, and about 1/50 in size.
fn random_q4_1(count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count / 32 * 20];
    SeededEntropy::new(3).fill(&mut bytes);
    for block in bytes.chunks_exact_mut(20) {
        block[..4].copy_from_slice(&[0x66, 0x1c, 0x2c, 0xa8]);
    }
    bytes
}
