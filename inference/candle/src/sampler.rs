//! Draws the next token from a model's logits. Everything depends on the request alone: its sampling, seed and tokens.

use std::collections::BTreeSet;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use steward_inference::Sampling;

/// A token this many units of logit (after temperature) below the likeliest has a chance under 1e-17: it is not ranked.
const LOGIT_SPAN_MAX: f32 = 40.0;

/// One sequence's sampler.
#[derive(Debug)]
pub struct Sampler {
    sampling: Sampling,
    random: ChaCha8Rng,
    seen: BTreeSet<u32>,
}

#[derive(Debug, Clone, Copy)]
struct Candidate {
    token: u32,
    weight: f32,
}

impl Sampler {
    /// A sampler for a request whose prompt is `prompt`.
    pub fn new(sampling: Sampling, seed: u64, prompt: &[u32]) -> Self {
        let mut sampler = Self { sampling, random: ChaCha8Rng::seed_from_u64(seed), seen: BTreeSet::new() };
        if sampler.penalises() {
            sampler.seen.extend(prompt);
        }
        sampler
    }

    /// Draws a token; none when the logits hold no number at all.
    pub fn draw(&mut self, logits: &mut [f32]) -> Option<u32> {
        self.penalise(logits);
        let token = match likeliest(logits)? {
            best if self.sampling.temperature == 0.0 => best.token,
            best => {
                let candidates = self.candidates(logits, best.weight);
                self.pick(&candidates)?
            }
        };
        if self.penalises() {
            self.seen.insert(token);
        }
        Some(token)
    }

    #[expect(clippy::float_cmp, reason = "exactly 1 switches the penalty off")]
    fn penalises(&self) -> bool {
        self.sampling.repetition_penalty != 1.0
    }

    /// Keskar and others, "CTRL" (2019), section 4.1, with the sign handled as Hugging Face's `transformers` does.
    fn penalise(&self, logits: &mut [f32]) {
        let penalty = self.sampling.repetition_penalty;
        for &token in &self.seen {
            if let Some(logit) = logits.get_mut(token as usize) {
                *logit = if *logit > 0.0 { *logit / penalty } else { *logit * penalty };
            }
        }
    }

    /// The tokens that may be drawn, likeliest first, with their probabilities up to a common factor.
    fn candidates(&self, logits: &[f32], best: f32) -> Vec<Candidate> {
        let Sampling { temperature, top_p, top_k, min_p, .. } = self.sampling;
        let floor = best - LOGIT_SPAN_MAX * temperature;
        let mut candidates: Vec<Candidate> = ranked(logits).filter(|candidate| candidate.weight >= floor).collect();
        let top_k = if top_k == 0 { candidates.len() } else { top_k as usize };
        if top_k < candidates.len() {
            candidates.select_nth_unstable_by(top_k, by_rank);
            candidates.truncate(top_k);
        }
        candidates.sort_unstable_by(by_rank);
        for candidate in &mut candidates {
            candidate.weight = ((candidate.weight - best) / temperature).exp();
        }
        keep_nucleus(&mut candidates, top_p);
        // The likeliest has the weight 1.
        candidates.retain(|candidate| candidate.weight >= min_p);
        candidates
    }

    #[expect(clippy::cast_precision_loss, reason = "53 bits are kept exactly")]
    fn pick(&mut self, candidates: &[Candidate]) -> Option<u32> {
        let total: f64 = candidates.iter().map(|candidate| f64::from(candidate.weight)).sum();
        let mut left = (self.random.next_u64() >> 11) as f64 / (1u64 << 53) as f64 * total;
        for candidate in candidates {
            left -= f64::from(candidate.weight);
            if left < 0.0 {
                return Some(candidate.token);
            }
        }
        candidates.last().map(|candidate| candidate.token)
    }
}

fn ranked(logits: &[f32]) -> impl Iterator<Item = Candidate> {
    (0u32..).zip(logits).filter(|(_, logit)| !logit.is_nan()).map(|(token, &weight)| Candidate { token, weight })
}

/// The likeliest first; of two alike, the lower token.
fn by_rank(a: &Candidate, b: &Candidate) -> std::cmp::Ordering {
    b.weight.total_cmp(&a.weight).then(a.token.cmp(&b.token))
}

fn likeliest(logits: &[f32]) -> Option<Candidate> {
    ranked(logits).filter(|candidate| candidate.weight.is_finite()).min_by(by_rank)
}

/// Holtzman and others, "The Curious Case of Neural Text Degeneration" (2019): the shortest head whose share reaches
/// `top_p`.
fn keep_nucleus(candidates: &mut Vec<Candidate>, top_p: f32) {
    if top_p >= 1.0 {
        return;
    }
    let total: f32 = candidates.iter().map(|candidate| candidate.weight).sum();
    let mut sum = 0.0;
    let kept = candidates.iter().position(|candidate| {
        sum += candidate.weight;
        sum >= top_p * total
    });
    candidates.truncate(kept.map_or(candidates.len(), |last| last + 1));
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGITS: [f32; 5] = [1.0, 3.0, 2.0, -1.0, 0.0];

    fn draws(sampling: Sampling, prompt: &[u32]) -> Vec<u32> {
        let mut sampler = Sampler::new(sampling, 7, prompt);
        (0..200).map(|_| sampler.draw(&mut LOGITS.clone()).unwrap()).collect()
    }

    fn distinct(tokens: Vec<u32>) -> Vec<u32> {
        tokens.into_iter().collect::<BTreeSet<_>>().into_iter().collect()
    }

    #[test]
    fn each_setting_narrows_the_draw() {
        let all = Sampling { temperature: 2.0, ..Sampling::greedy() };
        let check = |sampling, expected: &[u32]| assert_eq!(distinct(draws(sampling, &[])), expected, "{sampling:?}");
        check(Sampling::greedy(), &[1]);
        check(all, &[0, 1, 2, 3, 4]);
        check(Sampling { top_k: 2, ..all }, &[1, 2]);
        check(Sampling { top_p: 0.5, ..all }, &[1, 2]);
        check(Sampling { min_p: 0.35, ..all }, &[0, 1, 2]);
    }

    #[test]
    fn the_same_seed_draws_the_same() {
        let all = Sampling { temperature: 1.0, ..Sampling::greedy() };
        assert_eq!(draws(all, &[]), draws(all, &[]));
    }

    #[test]
    fn what_was_seen_gets_less_likely() {
        let sampling = Sampling { repetition_penalty: 2.0, ..Sampling::greedy() };
        let mut sampler = Sampler::new(sampling, 0, &[1]);
        assert_eq!(sampler.draw(&mut LOGITS.clone()), Some(2));
        assert_eq!(sampler.draw(&mut LOGITS.clone()), Some(1));
    }

    #[test]
    fn logits_that_are_no_numbers_draw_nothing() {
        let mut sampler = Sampler::new(Sampling::default(), 0, &[]);
        assert_eq!(sampler.draw(&mut [f32::NAN; 3]), None);
        assert_eq!(sampler.draw(&mut [f32::NAN, 1.0, f32::NEG_INFINITY]), Some(1));
    }
}
