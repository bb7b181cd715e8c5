//! The committed PTX is made from the committed source.

use sha2::{Digest, Sha256};
use steward_inference_cuda::{KERNELS_PTX, KERNELS_SOURCE};

#[test]
fn the_ptx_is_made_from_the_source() {
    let hash: String = Sha256::digest(KERNELS_SOURCE).iter().map(|byte| format!("{byte:02x}")).collect();
    let head: String = KERNELS_PTX.lines().take(2).collect();
    let made = "run `cargo run -p steward-inference-cuda --example compile_kernels`";
    assert!(head.contains(&hash), "kernels/llama.cu was changed after kernels/llama.ptx was made: {made}");
}

/// Any card from compute capability 8.0 on can compile it, and any driver from CUDA 12.1 on reads it.
#[test]
fn the_ptx_asks_for_no_newer_card_or_driver_than_is_promised() {
    let line = |start: &str| KERNELS_PTX.lines().find(|line| line.starts_with(start)).unwrap_or_default();
    assert_eq!((line(".target"), line(".version")), (".target sm_80", ".version 8.1"));
}
