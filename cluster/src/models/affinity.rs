//! Which replica has seen the beginning of a prompt: a conversation goes where it was before, while that is not much
//! busier than elsewhere.

use std::collections::{HashMap, VecDeque};

use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use steward_inference::Prompt;
use steward_types::limits::{PREFIX_TEXT_BYTES, PREFIXES_MAX};
use steward_types::{ModelId, NodeId};

/// The beginnings of one prompt, the longest first, each as a hash that names the model too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Prefixes(Vec<u64>);

impl Prefixes {
    /// A chat has one with each message, a text one with each further kibibyte.
    pub(super) fn of(model: &ModelId, prompt: &Prompt) -> Self {
        let mut hash = Sha256::new();
        let mut found = Vec::new();
        part(&mut hash, model.as_str().as_bytes());
        match prompt {
            Prompt::Messages(messages) => {
                for message in messages {
                    part(&mut hash, message.role.as_str().as_bytes());
                    part(&mut hash, message.content.as_bytes());
                    found.push(short(&hash));
                }
            }
            Prompt::Text(text) => {
                for chunk in text.as_bytes().chunks_exact(PREFIX_TEXT_BYTES) {
                    part(&mut hash, chunk);
                    found.push(short(&hash));
                }
            }
        }
        found.reverse();
        Self(found)
    }
}

fn part(hash: &mut Sha256, bytes: &[u8]) {
    hash.update((bytes.len() as u64).to_be_bytes());
    hash.update(bytes);
}

fn short(hash: &Sha256) -> u64 {
    let digest: [u8; 32] = hash.clone().finalize().into();
    u64::from_be_bytes(digest[..8].try_into().unwrap_or_default())
}

/// What one node remembers. It is a guess and is allowed to be wrong.
#[derive(Debug, Default)]
pub(super) struct Affinity(Mutex<Remembered>);

#[derive(Debug, Default)]
struct Remembered {
    places: HashMap<u64, NodeId>,
    oldest: VecDeque<u64>,
}

impl Affinity {
    /// The node that has seen the longest of the prefixes.
    pub(super) fn place(&self, prefixes: &Prefixes) -> Option<NodeId> {
        let remembered = self.0.lock();
        prefixes.0.iter().find_map(|prefix| remembered.places.get(prefix).copied())
    }

    /// Notes that a node has seen the whole prompt. Its shorter beginnings are left out: what all conversations begin
    /// with shall not draw them all to one place.
    pub(super) fn note(&self, prefixes: &Prefixes, node: NodeId) {
        let Some(&longest) = prefixes.0.first() else { return };
        let mut remembered = self.0.lock();
        if remembered.places.insert(longest, node).is_some() {
            return;
        }
        remembered.oldest.push_back(longest);
        if remembered.oldest.len() > PREFIXES_MAX
            && let Some(gone) = remembered.oldest.pop_front()
        {
            remembered.places.remove(&gone);
        }
    }
}

#[cfg(test)]
mod tests {
    use steward_inference::ChatMessage;

    use super::*;

    fn chat(texts: &[&str]) -> Prefixes {
        let messages = texts.iter().map(|&text| ChatMessage::user(text)).collect();
        Prefixes::of(&"m".parse().unwrap(), &Prompt::Messages(messages))
    }

    #[test]
    fn a_conversation_is_known_by_its_beginning_and_others_are_not() {
        let (affinity, node) = (Affinity::default(), NodeId::from_bytes([1; 16]));
        affinity.note(&chat(&["system", "one"]), node);
        assert_eq!(affinity.place(&chat(&["system", "one", "answer", "two"])), Some(node));
        assert_eq!(affinity.place(&chat(&["system", "one"])), Some(node));
        assert_eq!(affinity.place(&chat(&["system", "other"])), None);
        assert_eq!(affinity.place(&chat(&["system"])), None);
        // Where one message ends and the next begins counts.
        assert_eq!(affinity.place(&chat(&["systemone"])), None);
    }

    #[test]
    fn a_text_is_known_by_its_whole_kibibytes() {
        let (affinity, node) = (Affinity::default(), NodeId::from_bytes([1; 16]));
        let text = |length: usize| Prefixes::of(&"m".parse().unwrap(), &Prompt::Text("abcd".repeat(length)));
        affinity.note(&text(600), node);
        assert_eq!(affinity.place(&text(700)), Some(node));
        assert_eq!(affinity.place(&text(100)), None);
    }

    #[test]
    fn the_oldest_is_forgotten_at_the_bound() {
        let (affinity, node) = (Affinity::default(), NodeId::from_bytes([1; 16]));
        for number in 0..=PREFIXES_MAX {
            affinity.note(&Prefixes(vec![number as u64]), node);
        }
        assert_eq!(affinity.place(&Prefixes(vec![0])), None);
        assert_eq!(affinity.place(&Prefixes(vec![1])), Some(node));
    }
}
