//! What ended generations have read: a prompt that begins like one of them need not be read from the start. Keys and
//! values depend only on the tokens up to their place, so those of a common beginning are the same.
//!
//! The memory counts as free on the device: whoever needs it gets it.

use std::collections::VecDeque;

use steward_inference::{ModelError, Spare};
use steward_types::limits::{REPLICA_PREFIX_TOKENS_MIN, REPLICA_PREFIXES_MAX};

use super::sequence::Read;
use crate::llama::{KeyValueCache, Llama};

/// What is kept, the least recently used first.
#[derive(Debug, Default)]
pub struct Prefixes(VecDeque<Kept>);

#[derive(Debug)]
struct Kept {
    tokens: Vec<u32>,
    cache: Spare<KeyValueCache>,
}

impl Prefixes {
    /// Keeps what was read. What it continues or repeats is kept no longer.
    pub fn keep(&mut self, read: Read) {
        let Read { tokens, cache, reservation } = read;
        if tokens.len() < REPLICA_PREFIX_TOKENS_MIN || self.0.iter().any(|kept| kept.tokens.starts_with(&tokens)) {
            return;
        }
        self.0.retain(|kept| !tokens.starts_with(&kept.tokens));
        if self.0.len() >= REPLICA_PREFIXES_MAX {
            self.0.pop_front();
        }
        self.0.push_back(Kept { tokens, cache: reservation.spare(cache) });
    }

    /// Copies the longest known beginning of `prompt` into its cache, and says how many tokens that are. The prompt's last
    /// token is always left to be read, since its logits are wanted.
    pub fn read_into(&mut self, llama: &Llama, cache: &mut KeyValueCache, prompt: &[u32]) -> Result<usize, ModelError> {
        let unread_most = prompt.len().saturating_sub(1);
        loop {
            let common = self.0.iter().map(|kept| common(&kept.tokens, prompt).min(unread_most));
            let best = common.enumerate().max_by_key(|(_, tokens)| *tokens);
            let Some((place, tokens)) = best.filter(|(_, tokens)| *tokens >= REPLICA_PREFIX_TOKENS_MIN) else {
                return Ok(0);
            };
            let Some(kept) = self.0.remove(place) else { return Ok(0) };
            // When somebody needed its memory, another may do.
            if let Some(copied) = kept.cache.look(|from| llama.copy_prefix(from, cache, tokens)) {
                copied?;
                self.0.push_back(kept);
                return Ok(tokens);
            }
        }
    }
}

fn common(some: &[u32], others: &[u32]) -> usize {
    some.iter().zip(others).take_while(|(some, other)| some == other).count()
}
