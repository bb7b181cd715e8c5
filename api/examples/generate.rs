//! Generates `src/proto/` from the `.proto` files: `cargo run -p steward-api --example generate`.
//! The generated code is committed, so that a build needs neither protoc nor this; a test checks that it is fresh.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use tonic_prost_build::FileDescriptorSet;

/// Writes the generated code and the descriptor set into the folder `into`.
pub fn generate(into: &Path) -> Result<(), Box<dyn Error>> {
    let proto = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto");
    let mut compiler = protox::Compiler::new([&proto])?;
    compiler.include_imports(true).include_source_info(true).open_files(sources(&proto)?)?;
    let mut descriptors: FileDescriptorSet = compiler.file_descriptor_set();
    tonic_prost_build::configure()
        .out_dir(into)
        .emit_rerun_if_changed(false)
        .btree_map(".")
        .build_transport(true)
        .compile_fds(descriptors.clone())?;
    for file in &mut descriptors.file {
        // Comments would make the binary's reflection data three times as large.
        file.source_code_info = None;
    }
    fs::write(into.join("descriptors.bin"), prost::Message::encode_to_vec(&descriptors))?;
    Ok(())
}

/// Every `.proto` file below `proto`, in one order on every machine.
fn sources(proto: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let mut found = Vec::new();
    for folder in ["google/rpc", "steward/v1"] {
        for entry in fs::read_dir(proto.join(folder))? {
            found.push(entry?.path());
        }
    }
    found.sort();
    Ok(found)
}

#[cfg_attr(test, expect(dead_code, reason = "the freshness test calls `generate` itself"))]
fn main() -> Result<(), Box<dyn Error>> {
    generate(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/proto"))
}
