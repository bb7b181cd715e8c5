//! The engine over files: small ones that the tests write themselves, and real ones where `STEWARD_MODELS` names a
//! folder that has them somewhere in it: `SmolLM2-135M-Instruct.Q4_1.gguf`, and MiniLM's `model.safetensors`.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "tests panic and print")]

mod engine {
    mod cancelled;
    mod embedder;
    mod exact;
    mod generator;
    mod hostile;
    mod moving;
    mod real;
    mod seeds;
    mod writer;
}
