//! Counts answers until enough are the same. Pure, and so are the opinions on a transaction's fate that it is used for.

use crate::chain::{ChainError, Inclusion, TransactionStatus};

/// The answers of different endpoints to one question.
#[derive(Debug, Clone)]
pub(super) struct Tally<T> {
    quorum: usize,
    answers: Vec<(usize, Answer<T>)>,
}

/// What an endpoint answered: a value, or the chain's refusal, whose words differ from client to client.
#[derive(Debug, Clone)]
pub(super) enum Answer<T> {
    Value(T),
    Rejected(String),
}

/// What enough endpoints say, and who says otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Verdict<T> {
    pub(super) answer: Answer<T>,
    pub(super) contradicted: Vec<usize>,
}

impl<T: PartialEq> PartialEq for Answer<T> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Value(one), Self::Value(other)) => one == other,
            (Self::Rejected(_), Self::Rejected(_)) => true,
            _ => false,
        }
    }
}

impl<T: Eq> Eq for Answer<T> {}

impl<T: PartialEq + Clone> Tally<T> {
    /// Counts what the chain said, and leaves out what endpoints failed to say.
    pub(super) fn of(quorum: usize, results: &[(usize, Result<T, ChainError>)]) -> Self {
        let answer = |result: &Result<T, ChainError>| match result {
            Ok(value) => Some(Answer::Value(value.clone())),
            Err(ChainError::Rejected { reason }) => Some(Answer::Rejected(reason.clone())),
            Err(_) => None,
        };
        let answers = results.iter().filter_map(|(endpoint, result)| Some((*endpoint, answer(result)?)));
        Self { quorum, answers: answers.collect() }
    }

    pub(super) fn answers(&self) -> &[(usize, Answer<T>)] {
        &self.answers
    }

    /// What enough of them say; nothing while none of the answers was given often enough.
    pub(super) fn verdict(&self) -> Option<Verdict<T>> {
        let votes = |answer: &Answer<T>| self.answers.iter().filter(|(_, other)| other == answer).count();
        let (_, agreed) = self.answers.iter().find(|(_, answer)| votes(answer) >= self.quorum)?;
        let wrong = self.answers.iter().filter(|(_, answer)| answer != agreed);
        Some(Verdict { answer: agreed.clone(), contradicted: wrong.map(|(endpoint, _)| *endpoint).collect() })
    }
}

/// What the endpoints together say of a transaction. It is final only when enough of them say the same and that it is
/// final; one endpoint's word can make it wait, but never end it. Nothing while too few answered alike.
pub(super) fn fate(quorum: usize, opinions: &[(usize, TransactionStatus)]) -> Option<Fate> {
    let alike = |one: &TransactionStatus, other: &TransactionStatus| provisional(one) == provisional(other);
    let (_, agreed) =
        opinions.iter().find(|(_, one)| opinions.iter().filter(|(_, other)| alike(one, other)).count() >= quorum)?;
    let is_final = opinions.iter().filter(|(_, other)| alike(agreed, other) && is_final(other)).count() >= quorum;
    let status = provisional(agreed);
    let contradicted = if is_final {
        // Whoever calls the opposite final lies; whoever has not seen it yet does not.
        opinions.iter().filter(|(_, other)| !alike(agreed, other) && self::is_final(other)).map(|(n, _)| *n).collect()
    } else {
        Vec::new()
    };
    Some(Fate { status: if is_final { finalised(status) } else { status }, contradicted })
}

/// What became of a transaction, and who called something else final.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fate {
    pub(super) status: TransactionStatus,
    pub(super) contradicted: Vec<usize>,
}

/// Whether it ends the transaction's story.
pub(super) const fn is_final(status: &TransactionStatus) -> bool {
    match status {
        TransactionStatus::Included(inclusion) => inclusion.is_final,
        TransactionStatus::Replaced { is_final } => *is_final,
        TransactionStatus::Expired => true,
        TransactionStatus::Unknown | TransactionStatus::Pending => false,
    }
}

/// The same, not final yet: what a single endpoint's word is worth.
pub(super) fn provisional(status: &TransactionStatus) -> TransactionStatus {
    with_finality(status, false)
}

fn finalised(status: TransactionStatus) -> TransactionStatus {
    with_finality(&status, true)
}

fn with_finality(status: &TransactionStatus, is_final: bool) -> TransactionStatus {
    match status {
        TransactionStatus::Included(inclusion) => {
            TransactionStatus::Included(Inclusion { is_final, ..inclusion.clone() })
        }
        TransactionStatus::Replaced { .. } => TransactionStatus::Replaced { is_final },
        // What has expired is, on one endpoint's word, only not to be seen.
        TransactionStatus::Expired | TransactionStatus::Unknown if is_final => TransactionStatus::Expired,
        TransactionStatus::Expired | TransactionStatus::Unknown => TransactionStatus::Unknown,
        TransactionStatus::Pending => TransactionStatus::Pending,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_status() -> impl Strategy<Value = TransactionStatus> {
        let inclusion = (0..3u64, any::<bool>(), any::<bool>()).prop_map(|(block, succeeded, is_final)| {
            let (block_hash, fee) = (format!("hash {block}"), None);
            TransactionStatus::Included(Inclusion { block, block_hash, succeeded, is_final, fee })
        });
        prop_oneof![
            2 => inclusion,
            1 => any::<bool>().prop_map(|is_final| TransactionStatus::Replaced { is_final }),
            1 => Just(TransactionStatus::Pending),
            1 => Just(TransactionStatus::Unknown),
            1 => Just(TransactionStatus::Expired),
        ]
    }

    proptest! {
        /// Of three endpoints one says anything. The others say the truth, or that it is not final yet, or that they have
        /// not seen it.
        #[test]
        fn no_single_word_ends_a_transaction(
            truth in any_status(), lie in any_status(), seen in prop::array::uniform2(0..3u8), liar in 0..3usize,
        ) {
            let honest = |seen: u8| match seen {
                0 => TransactionStatus::Unknown,
                1 => provisional(&truth),
                _ => truth.clone(),
            };
            let mut opinions: Vec<TransactionStatus> = seen.map(honest).to_vec();
            opinions.insert(liar, lie);
            let opinions: Vec<(usize, TransactionStatus)> = opinions.into_iter().enumerate().collect();
            for count in 0..=3 {
                let Some(fate) = fate(2, &opinions[..count]) else { continue };
                if is_final(&fate.status) {
                    prop_assert!(fate.status == truth, "{opinions:?} became {:?}", fate.status);
                }
                prop_assert!(fate.contradicted.iter().all(|named| *named == liar), "{opinions:?} named {:?}", fate.contradicted);
            }
        }
    }

    #[test]
    fn a_verdict_needs_enough_voices_and_names_who_says_otherwise() {
        let rejected = |reason: &str| Err(ChainError::Rejected { reason: reason.to_owned() });
        let verdict = |answers: &[(usize, Result<u8, ChainError>)]| Tally::of(2, answers).verdict();
        assert_eq!(verdict(&[(0, Ok(1))]), None);
        assert_eq!(verdict(&[(0, Ok(1)), (1, Ok(2))]), None);
        let agreed = verdict(&[(0, Ok(1)), (1, Ok(2)), (2, Ok(2))]).unwrap();
        assert_eq!((agreed.answer, agreed.contradicted), (Answer::Value(2), vec![0]));
        // Each client has its own words for a refusal.
        let refused = verdict(&[(0, rejected("revert")), (1, Ok(2)), (2, rejected("execution reverted"))]).unwrap();
        assert_eq!(refused.contradicted, [1]);
    }
}
