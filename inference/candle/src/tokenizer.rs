//! A generator's tokenizer, built from its file's metadata: byte-level BPE as in GPT-2, control tokens, chat template.

use std::collections::BTreeSet;
use std::sync::Arc;

use steward_inference::{ModelError, Prompt};
use steward_types::{Clock, ModelId};
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::tokenizer::SplitDelimiterBehavior;
use tokenizers::{AddedToken, Tokenizer};

use crate::chat_template::{ChatTemplate, GUARD};
use crate::gguf::{HeaderError, Metadata};

/// The `token_type` of a control token.
const TYPE_CONTROL: i64 = 3;
/// The `token_type` of a text that is always a token of its own.
const TYPE_USER_DEFINED: i64 = 4;
/// Control tokens with these texts end a generation, whatever the file's end token is.
const END_TEXTS: [&str; 6] = ["<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|end_of_text|>", "<|end|>", "</s>"];
/// How Llama 3 splits text before BPE, from its published tokenizer.
const LLAMA3_PATTERN: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Texts to tokens and tokens to bytes.
#[derive(Debug)]
pub struct GeneratorTokenizer {
    bpe: Tokenizer,
    /// What each token stands for; nothing for control tokens.
    pieces: Vec<Vec<u8>>,
    /// Control tokens, the longest texts first.
    control: Vec<(String, u32)>,
    ends: BTreeSet<u32>,
    begin: Option<u32>,
    template: Option<ChatTemplate>,
}

impl GeneratorTokenizer {
    /// Builds the tokenizer that the metadata describe.
    pub fn new(metadata: &Metadata, clock: Arc<dyn Clock>) -> Result<Self, HeaderError> {
        let kind = metadata.text("tokenizer.ggml.model")?;
        if kind != Some("gpt2") {
            let kind = kind.unwrap_or("none");
            return Err(HeaderError::new(format!("tokenizer.ggml.model: {kind:?} is not supported (\"gpt2\" is)")));
        }
        let tokens = required(metadata.texts("tokenizer.ggml.tokens")?, "tokenizer.ggml.tokens")?;
        let merges = required(metadata.texts("tokenizer.ggml.merges")?, "tokenizer.ggml.merges")?;
        let types = metadata.integers("tokenizer.ggml.token_type")?.unwrap_or_default();
        if !types.is_empty() && types.len() != tokens.len() {
            let (types, tokens) = (types.len(), tokens.len());
            return Err(HeaderError::new(format!("tokenizer.ggml.token_type has {types} items for {tokens} tokens")));
        }
        let type_of = |token: usize| types.get(token).copied().unwrap_or(1);
        let bpe = bpe(tokens, merges, metadata.text("tokenizer.ggml.pre")?, type_of)?;
        let pieces = (0..tokens.len()).map(|token| piece(&tokens[token], type_of(token))).collect();
        let mut control: Vec<(String, u32)> = (0u32..)
            .zip(tokens)
            .filter(|(token, text)| type_of(*token as usize) == TYPE_CONTROL && text.chars().nth(1).is_some())
            .map(|(token, text)| (text.clone(), token))
            .collect();
        control.sort_by(|a, b| b.0.len().cmp(&a.0.len()).then(a.0.cmp(&b.0)));
        let special = |key: &str| special_token(metadata, key, tokens.len());
        let (begin, end) = (special("tokenizer.ggml.bos_token_id")?, special("tokenizer.ggml.eos_token_id")?);
        let mut ends: BTreeSet<u32> =
            control.iter().filter(|(text, _)| END_TEXTS.contains(&text.as_str())).map(|(_, token)| *token).collect();
        ends.extend(end);
        ends.extend(special("tokenizer.ggml.eot_token_id")?);
        let text = |token: Option<u32>| token.map_or(String::new(), |token| tokens[token as usize].clone());
        let template = match metadata.text("tokenizer.chat_template")? {
            None => None,
            Some(source) => {
                let wrong = |error| HeaderError::new(format!("tokenizer.chat_template: {error}"));
                Some(ChatTemplate::new(source, text(begin), text(end), clock).map_err(wrong)?)
            }
        };
        let adds_begin = metadata.bool("tokenizer.ggml.add_bos_token")?.unwrap_or(false);
        Ok(Self { bpe, pieces, control, ends, begin: begin.filter(|_| adds_begin), template })
    }

    /// Tokens of the vocabulary.
    pub fn vocabulary(&self) -> usize {
        self.pieces.len()
    }

    /// The bytes that a token stands for; none for a control token.
    pub fn piece(&self, token: u32) -> &[u8] {
        self.pieces.get(token as usize).map_or(&[], Vec::as_slice)
    }

    /// Whether the text ends with this token.
    pub fn is_end(&self, token: u32) -> bool {
        self.ends.contains(&token)
    }

    /// A prompt's tokens. [`ModelError::Unsuited`] for a chat when the file has no template.
    pub fn encode_prompt(&self, id: &ModelId, prompt: &Prompt) -> Result<Vec<u32>, ModelError> {
        match prompt {
            Prompt::Text(text) => {
                let mut tokens: Vec<u32> = self.begin.into_iter().collect();
                self.encode_plain(text, &mut tokens)?;
                Ok(tokens)
            }
            Prompt::Messages(messages) => {
                let operation = "chat, because its file has no chat template".into();
                let template =
                    self.template.as_ref().ok_or_else(|| ModelError::Unsuited { id: id.clone(), operation })?;
                let text = template.render(messages, self.control.iter().map(|(text, _)| text.as_str()))?;
                self.encode_with_control(&text)
            }
        }
    }

    fn encode_with_control(&self, text: &str) -> Result<Vec<u32>, ModelError> {
        let mut tokens = Vec::new();
        let mut rest = text;
        while let Some((at, text, token)) = self.next_control(rest) {
            self.encode_plain(&rest[..at], &mut tokens)?;
            tokens.push(token);
            rest = &rest[at + text.len()..];
        }
        self.encode_plain(rest, &mut tokens)?;
        Ok(tokens)
    }

    /// The first control token's text in `text`; of those at one place, the longest.
    fn next_control(&self, text: &str) -> Option<(usize, &str, u32)> {
        let starts = |at: usize| self.control.iter().find(|(control, _)| text[at..].starts_with(control.as_str()));
        text.char_indices().find_map(|(at, _)| starts(at).map(|(control, token)| (at, control.as_str(), *token)))
    }

    fn encode_plain(&self, text: &str, tokens: &mut Vec<u32>) -> Result<(), ModelError> {
        if text.is_empty() {
            return Ok(());
        }
        let text = text.replace(GUARD, "");
        let failed = |error| ModelError::Failed { what: format!("the text can't be split into tokens: {error}") };
        tokens.extend_from_slice(self.bpe.encode_fast(text, false).map_err(failed)?.get_ids());
        Ok(())
    }
}

fn required<'a>(found: Option<&'a [String]>, key: &str) -> Result<&'a [String], HeaderError> {
    found.ok_or_else(|| HeaderError::new(format!("the metadata key {key:?} is missing")))
}

fn special_token(metadata: &Metadata, key: &str, vocabulary: usize) -> Result<Option<u32>, HeaderError> {
    let Some(token) = metadata.u64(key)? else { return Ok(None) };
    let known = u32::try_from(token).ok().filter(|&token| (token as usize) < vocabulary);
    known.map(Some).ok_or_else(|| HeaderError::new(format!("{key}: {token} is no token of the {vocabulary}")))
}

fn bpe(
    tokens: &[String],
    merges: &[String],
    pre: Option<&str>,
    type_of: impl Fn(usize) -> i64,
) -> Result<Tokenizer, HeaderError> {
    let mut vocabulary = Vocab::with_capacity(tokens.len());
    for (token, text) in (0u32..).zip(tokens) {
        if let Some(other) = vocabulary.insert(text.clone(), token) {
            return Err(HeaderError::new(format!("tokenizer.ggml.tokens: {other} and {token} are both {text:?}")));
        }
    }
    let mut pairs = Vec::with_capacity(merges.len());
    for (number, merge) in merges.iter().enumerate() {
        let pair = merge.split_once(' ').filter(|(a, b)| {
            vocabulary.contains_key(*a) && vocabulary.contains_key(*b) && vocabulary.contains_key(&format!("{a}{b}"))
        });
        let (a, b) = pair.ok_or_else(|| {
            HeaderError::new(format!("tokenizer.ggml.merges: item {number}, {merge:?}, does not merge two tokens"))
        })?;
        pairs.push((a.to_owned(), b.to_owned()));
    }
    let model = BPE::builder().vocab_and_merges(vocabulary, pairs).build();
    let wrong = |error| HeaderError::new(format!("the tokenizer's vocabulary and merges do not fit: {error}"));
    let mut tokenizer = Tokenizer::new(model.map_err(wrong)?);
    tokenizer.with_pre_tokenizer(Some(pre_tokenizer(pre)?));
    let literal: Vec<AddedToken> = (0..tokens.len())
        .filter(|&token| type_of(token) == TYPE_USER_DEFINED && !tokens[token].is_empty())
        .map(|token| AddedToken::from(tokens[token].clone(), false).normalized(false))
        .collect();
    tokenizer.add_tokens(literal).map_err(wrong)?;
    Ok(tokenizer)
}

/// How text is split before BPE; a file names the way.
fn pre_tokenizer(name: Option<&str>) -> Result<PreTokenizerWrapper, HeaderError> {
    let bytes = |regex: bool| PreTokenizerWrapper::from(ByteLevel::new(false, false, regex));
    match name {
        None | Some("gpt-2" | "default") => Ok(bytes(true)),
        Some("smollm" | "starcoder" | "refact") => {
            Ok(Sequence::new(vec![PreTokenizerWrapper::from(Digits::new(true)), bytes(true)]).into())
        }
        Some("llama-bpe" | "llama3" | "llama-v3") => {
            let pattern = SplitPattern::Regex(LLAMA3_PATTERN.to_owned());
            let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false)
                .map_err(|error| HeaderError::new(format!("tokenizer.ggml.pre: {error}")))?;
            Ok(Sequence::new(vec![split.into(), bytes(false)]).into())
        }
        Some(other) => Err(HeaderError::new(format!("tokenizer.ggml.pre: {other:?} is not supported"))),
    }
}

/// The bytes that a token's text stands for.
fn piece(text: &str, kind: i64) -> Vec<u8> {
    match kind {
        TYPE_CONTROL => Vec::new(),
        TYPE_USER_DEFINED => text.as_bytes().to_vec(),
        _ => {
            let mut bytes = Vec::with_capacity(text.len());
            for c in text.chars() {
                match byte_of(c) {
                    Some(byte) => bytes.push(byte),
                    None => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
                }
            }
            bytes
        }
    }
}

/// The byte that a character of GPT-2's byte alphabet stands for: the printable ones for themselves, U+0100 and up for
/// the others in order.
fn byte_of(c: char) -> Option<u8> {
    let is_itself = |byte: u8| matches!(byte, 33..=126 | 161..=172 | 174..=255);
    match u32::from(c) {
        code @ 0..=255 => u8::try_from(code).ok().filter(|&byte| is_itself(byte)),
        code => (0..=255u8).filter(|&byte| !is_itself(byte)).nth((code - 256) as usize),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_byte_alphabet_has_every_byte_once() {
        let bytes: BTreeSet<u8> = (0..=511).filter_map(char::from_u32).filter_map(byte_of).collect();
        assert_eq!(bytes.len(), 256);
        assert_eq!((byte_of('Ġ'), byte_of('Ċ'), byte_of('a')), (Some(b' '), Some(b'\n'), Some(b'a')));
    }
}
