//! Files that are corrupt, cut off, unsupported or made to hurt. Each is refused with what is wrong in it.

use std::io::Cursor;

use candle_core::quantized::GgmlDType;
use proptest::prelude::*;
use steward_inference::ModelError;
use steward_inference_candle::gguf::Header;
use steward_types::ErrorCode;

use super::writer::{Entry, Gguf, bert, open, write};

fn refusal(bytes: &[u8]) -> String {
    let (_folder, path) = write(bytes);
    let error = open(&path).expect_err("the file is refused");
    assert_eq!(error.code(), ErrorCode::ModelFileInvalid);
    let ModelError::FileInvalid { what, path: named } = error else { panic!("it is another error") };
    assert_eq!(named, path);
    what
}

#[test]
fn a_spoiled_file_is_refused_with_what_is_wrong() {
    let check = |expected: &str, spoil: &dyn Fn(&mut Gguf)| {
        let mut file = Gguf::llama(GgmlDType::Q4_1);
        spoil(&mut file);
        let what = refusal(&file.bytes());
        assert!(what.contains(expected), "{what:?} does not say {expected:?}");
    };
    check("version 9", &|file| file.version = 9);
    check("general.architecture: \"mamba\"", &|f| f.set("general.architecture", Some(Entry::Text("mamba".into()))));
    check("llama.block_count\" is missing", &|file| file.set("llama.block_count", None));
    check("llama.block_count: expected an integer", &|f| f.set("llama.block_count", Some(Entry::Text("2".into()))));
    check("tensor \"blk.2.attn_norm.weight\" is missing", &|f| f.set("llama.block_count", Some(Entry::U32(3))));
    check("has the shape", &|file| file.set("llama.feed_forward_length", Some(Entry::U32(64))));
    check("is not between 1 and", &|file| file.set("llama.embedding_length", Some(Entry::U32(u32::MAX))));
    check("share", &|file| file.set("llama.attention.head_count_kv", Some(Entry::U32(3))));
    check("layer_norm_rms_epsilon", &|f| f.set("llama.attention.layer_norm_rms_epsilon", Some(Entry::F32(f32::NAN))));
    check("mixtures", &|file| file.set("llama.expert_count", Some(Entry::U32(8))));
    check("rope.scaling", &|file| file.set("llama.rope.scaling.type", Some(Entry::Text("yarn".into()))));
    check("tokenizer.ggml.model: \"llama\"", &|f| f.set("tokenizer.ggml.model", Some(Entry::Text("llama".into()))));
    check("tokenizer.ggml.pre: \"odd\"", &|f| f.set("tokenizer.ggml.pre", Some(Entry::Text("odd".into()))));
    check("tokenizer.ggml.merges: item 0", &|f| f.set("tokenizer.ggml.merges", Some(Entry::Texts(vec!["q q".into()]))));
    check("eos_token_id: 9999", &|file| file.set("tokenizer.ggml.eos_token_id", Some(Entry::U32(9999))));
    check("chat_template: syntax", &|f| f.set("tokenizer.chat_template", Some(Entry::Text("{% if %}".into()))));
    check("general.alignment: 3", &|file| file.set("general.alignment", Some(Entry::U32(3))));
    check("stands twice", &|file| file.metadata.push(file.metadata[0].clone()));
    check("a second tensor", &|file| file.tensors.push(file.tensors[0].clone()));
    check("type 77", &|file| file.tensors[0].2 = 77);
    check("too large", &|file| file.tensors[0].1 = vec![1 << 40, 1 << 40]);
    check("has a zero", &|file| file.tensors[0].1 = vec![64, 0]);
    check("whole blocks", &|file| file.tensors[0].1 = vec![63, 265]);
    check("stored as", &|file| file.tensors[1].2 = 1);
}

#[test]
fn a_file_that_is_cut_off_is_refused_wherever_the_cut_is() {
    let bytes = Gguf::llama(GgmlDType::Q4_1).bytes();
    assert!(refusal(&bytes[..bytes.len() - 100]).contains("is it cut off?"));
    assert!(refusal(b"").contains("at byte 0: the header ends within the magic"));
    assert!(refusal(b"<html>not found</html>").contains("it is no GGUF file"));
    let header = Gguf::llama(GgmlDType::Q4_1).header();
    for length in (0..header.len()).step_by(97) {
        Header::read(Cursor::new(&header[..length]), length as u64).expect_err("a cut header is refused");
    }
}

#[test]
fn claims_of_huge_counts_are_refused_before_memory_is_taken() {
    let mut bytes = b"GGUF".to_vec();
    bytes.extend(3u32.to_le_bytes());
    bytes.extend(1u64.to_le_bytes());
    bytes.extend(1u64.to_le_bytes());
    let claim = |tail: &[&[u8]]| [bytes.clone(), tail.concat()].concat();
    let key: &[u8] = b"\x01\0\0\0\0\0\0\0k";
    assert!(refusal(&claim(&[&u64::MAX.to_le_bytes()])).contains("a metadata key claims"));
    let texts = claim(&[key, &9u32.to_le_bytes(), &8u32.to_le_bytes(), &(1u64 << 40).to_le_bytes()]);
    assert!(refusal(&texts).contains("the array claims 1099511627776 items, at most 0 are possible"));
    let nested = claim(&[key, &9u32.to_le_bytes(), &9u32.to_le_bytes(), &1u64.to_le_bytes()]);
    assert!(refusal(&nested).contains("arrays of metadata type 9"));
    let mut counts = b"GGUF\x03\0\0\0".to_vec();
    counts.extend([u64::MAX.to_le_bytes(), u64::MAX.to_le_bytes()].concat());
    assert!(refusal(&counts).contains("more than the 65536 that are allowed"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn a_mutated_header_never_panics(changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..12), cut in any::<proptest::sample::Index>()) {
        let file = Gguf::llama(GgmlDType::Q4_1);
        let (mut bytes, header_bytes) = (file.bytes(), file.header().len());
        for (place, value) in changes {
            bytes[place.index(header_bytes)] = value;
        }
        bytes.truncate(header_bytes / 2 + cut.index(bytes.len() - header_bytes / 2));
        drop(Header::read(Cursor::new(&bytes), bytes.len() as u64));
        let (_folder, path) = write(&bytes);
        drop(open(&path));
    }
}

#[test]
fn a_spoiled_folder_is_refused_with_what_is_wrong() {
    let check = |expected: &str, spoil: &dyn Fn(&std::path::Path)| {
        let folder = tempfile::tempdir().unwrap();
        bert(folder.path());
        spoil(folder.path());
        let error = open(folder.path()).expect_err("the folder is refused");
        assert_eq!(error.code(), ErrorCode::ModelFileInvalid);
        assert!(error.to_string().contains(expected), "{error} does not say {expected:?}");
    };
    let edit = |folder: &std::path::Path, file: &str, from: &str, to: &str| {
        let path = folder.join(file);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(from));
        std::fs::write(path, text.replace(from, to)).unwrap();
    };
    check("config.json: it cannot be read", &|folder| std::fs::remove_file(folder.join("config.json")).unwrap());
    check("model_type: \"gpt\"", &|folder| edit(folder, "config.json", "\"bert\"", "\"gpt\""));
    check("encoder.layer.2", &|f| edit(f, "config.json", "\"num_hidden_layers\":2", "\"num_hidden_layers\":3"));
    check("has the shape", &|f| edit(f, "config.json", "\"intermediate_size\":64", "\"intermediate_size\":65"));
    check("is not between 1 and", &|f| edit(f, "config.json", "\"hidden_size\":32", "\"hidden_size\":0"));
    check("beyond the vocabulary", &|folder| edit(folder, "tokenizer.json", "\"ran\":17", "\"ran\":99"));
    check("is it cut off?", &|folder| {
        let path = folder.join("model.safetensors");
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(path, &bytes[..bytes.len() - 4]).unwrap();
    });
    check("the header claims", &|folder| std::fs::write(folder.join("model.safetensors"), [0xff; 64]).unwrap());
}
