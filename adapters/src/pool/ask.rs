//! The ways of asking: the first answer, what enough endpoints say, the fate of a transaction, the same bytes to many.

use std::fmt::Debug;
use std::time::Duration;

use steward_types::limits::{CHAIN_ATTEMPT_TIME_MAX, ENDPOINT_CATCH_UP_TIME, ENDPOINT_CATCH_UP_TRIES};

use super::Pool;
use super::roster::nth_highest;
use super::round::{Answers, Next, Occasion, Question};
use super::tally::{Answer, Tally, fate, is_final, provisional};
use crate::chain::{Broadcast, ChainError, Consistency, SignedTransaction, TransactionStatus};
use crate::endpoint::Class;

/// What to do about an endpoint that is slow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spread {
    /// Ask another at the same time.
    Hedged,
    /// Give it up after a while, and ask another.
    OneByOne,
}

impl Pool {
    /// The first answer of the chain's, from whichever endpoint. That the chain refuses is believed when enough of them say
    /// so: one that lies would end what it does not like.
    pub(super) async fn first<'a, T: Send + 'a>(
        &'a self,
        class: Class,
        spread: Spread,
        question: &Question<'a, T>,
    ) -> Result<T, ChainError> {
        let mut since = self.clock.monotonic();
        let mut decide = |answers: &Answers<T>, occasion| match (occasion, answers.last()) {
            (Occasion::Slow, _) if spread == Spread::Hedged => Next::Ask,
            (Occasion::Slow, _) => self.when_slow(&mut since),
            (Occasion::Answered, Some((_, Err(error))))
                if error.is_endpoint_failure() || !self.is_believed(answers) =>
            {
                since = self.clock.monotonic();
                Next::Ask
            }
            (Occasion::Answered, _) => Next::Stop,
        };
        let mut answers = self.in_time(self.round(class, 1, question, &mut decide)).await?;
        if !self.is_believed(&answers) {
            let failure =
                answers.into_iter().filter_map(|(_, answer)| answer.err()).find(ChainError::is_endpoint_failure);
            return Err(failure.unwrap_or_else(|| self.too_few(1)));
        }
        answers.pop().map_or_else(|| Err(self.unavailable("no endpoint could be asked".to_owned())), |(_, last)| last)
    }

    /// Whether the last answer is no refusal, or one that enough endpoints gave.
    fn is_believed<T>(&self, answers: &Answers<T>) -> bool {
        let is_refusal = |answer: &Result<T, ChainError>| matches!(answer, Err(ChainError::Rejected { .. }));
        let refusals = answers.iter().filter(|(_, answer)| is_refusal(answer)).count();
        refusals >= self.quorum || answers.last().is_none_or(|(_, last)| !is_refusal(last))
    }

    /// One that is asked alone is given up after a while.
    fn when_slow(&self, since: &mut Duration) -> Next {
        let now = self.clock.monotonic();
        if now.saturating_sub(*since) < CHAIN_ATTEMPT_TIME_MAX {
            return Next::Wait;
        }
        *since = now;
        Next::Switch
    }

    /// What enough endpoints say about something that all of them should say the same about. While some do not have the
    /// block yet, or may differ for being ahead, they are asked again for a while.
    pub(super) async fn agreed<'a, T: PartialEq + Clone + Debug + Send + Sync + 'a>(
        &'a self,
        class: Class,
        what: &str,
        question: &Question<'a, T>,
    ) -> Result<T, ChainError> {
        self.in_time(async {
            for _ in 1..ENDPOINT_CATCH_UP_TRIES {
                match self.ballot(class, what, question).await {
                    Err(ChainError::Behind { .. }) => self.clock.sleep(ENDPOINT_CATCH_UP_TIME).await,
                    Err(ChainError::Disputed { .. }) if !self.keeps_old_states => {
                        self.clock.sleep(ENDPOINT_CATCH_UP_TIME).await;
                    }
                    done => return done,
                }
            }
            self.ballot(class, what, question).await
        })
        .await
    }

    /// One attempt of it. [`ChainError::Behind`] when somebody who does not have the block could still decide it.
    async fn ballot<'a, T: PartialEq + Clone + Debug + Send + Sync + 'a>(
        &'a self,
        class: Class,
        what: &str,
        question: &Question<'a, T>,
    ) -> Result<T, ChainError> {
        let mut decide = |answers: &Answers<T>, occasion| match occasion {
            Occasion::Slow => Next::Ask,
            Occasion::Answered => {
                let verdict = self.tally(answers).verdict();
                let could_still = answers.len() < self.quorum && answers.iter().all(|(_, answer)| is_said(answer));
                match verdict {
                    Some(_) => Next::Stop,
                    None if could_still => Next::Wait,
                    None => Next::Ask,
                }
            }
        };
        let answers = self.round(class, self.quorum, question, &mut decide).await?;
        let tally = self.tally(&answers);
        if let Some(verdict) = tally.verdict() {
            // Where no block can be agreed on, whoever differs may only be ahead.
            if self.keeps_old_states {
                self.contradict(&verdict.contradicted, &format!("{what}: the others say {:?}", verdict.answer));
            }
            return match verdict.answer {
                Answer::Value(value) => Ok(value),
                Answer::Rejected(reason) => Err(ChainError::Rejected { reason }),
            };
        }
        let said = tally.answers().len();
        // Whose bound is lower than the others' decides how much can be asked.
        if let Some(at) = answers.iter().position(|(_, answer)| matches!(answer, Err(ChainError::TooMany { .. }))) {
            return answers.into_iter().nth(at).expect("its place was just found").1;
        }
        let failures =
            answers.into_iter().filter_map(|(_, answer)| answer.err().filter(ChainError::is_endpoint_failure));
        let failures: Vec<ChainError> = failures.collect();
        if let Some(behind) = failures.iter().position(|failure| matches!(failure, ChainError::Behind { .. })) {
            return Err(failures.into_iter().nth(behind).expect("its place was just found"));
        }
        if said >= self.quorum {
            let each = tally.answers().iter().map(|(number, answer)| format!("{}: {answer:?}", self.names[*number]));
            let what = format!("{what}: {}", each.collect::<Vec<_>>().join("; "));
            return Err(ChainError::Disputed { chain: self.id.clone(), what });
        }
        Err(failures.into_iter().next_back().unwrap_or_else(|| self.too_few(said)))
    }

    fn tally<T: PartialEq + Clone>(&self, answers: &Answers<T>) -> Tally<T> {
        Tally::of(self.quorum, answers)
    }

    /// Asks every endpoint for its newest block: who is behind is asked last from then on, and who is back is asked
    /// again.
    ///
    /// # Errors
    /// When not enough of them answer.
    pub async fn look(&self) -> Result<(), ChainError> {
        self.in_time(self.heads()).await.map(drop)
    }

    /// The newest block that enough endpoints call final, as a consistency that all of them can be asked with.
    pub(super) async fn final_block(&self) -> Result<Consistency, ChainError> {
        let heads = self.in_time(self.heads()).await?;
        let block = nth_highest(heads.iter().map(|(_, head)| head.final_block), self.quorum);
        block.map(Consistency::Block).ok_or_else(|| self.too_few(heads.len()))
    }

    /// The highest number that enough endpoints reach, of a number that only grows.
    pub(super) async fn reached<'a, T: Ord + Copy + Send + 'a>(
        &'a self,
        question: &Question<'a, T>,
    ) -> Result<T, ChainError> {
        let answers = self.in_time(self.round(Class::Read, self.drivers.len(), question, &mut self.most())).await?;
        let numbers: Vec<T> = answers.iter().filter_map(|(_, answer)| answer.as_ref().ok()).copied().collect();
        let failure = answers.into_iter().find_map(|(_, answer)| answer.err());
        let reached = nth_highest(numbers.iter().copied(), self.quorum);
        reached.ok_or_else(|| failure.unwrap_or_else(|| self.too_few(numbers.len())))
    }

    /// Waits for enough answers, and then only for who is no slower than usual.
    pub(super) fn most<T: Send>(&self) -> impl FnMut(&Answers<T>, Occasion) -> Next + Send {
        let quorum = self.quorum;
        move |answers, occasion| {
            let is_enough = answers.iter().filter(|(_, answer)| answer.is_ok()).count() >= quorum;
            if is_enough && occasion == Occasion::Slow { Next::Stop } else { Next::Wait }
        }
    }

    /// What became of a transaction: final only when enough endpoints say so.
    pub(super) async fn fate_of(&self, transaction: &SignedTransaction) -> Result<TransactionStatus, ChainError> {
        let mut decide = |answers: &Answers<TransactionStatus>, occasion| {
            let opinions = opinions(answers);
            let is_settled = opinions.len() >= self.quorum && opinions.windows(2).all(|pair| pair[0].1 == pair[1].1);
            match occasion {
                Occasion::Answered if is_settled => Next::Stop,
                Occasion::Answered if answers.len() < self.quorum && opinions.len() == answers.len() => Next::Wait,
                Occasion::Answered | Occasion::Slow => Next::Ask,
            }
        };
        let question: &Question<'_, TransactionStatus> = &|chain| chain.status(transaction);
        let answers = self.in_time(self.round(Class::Read, self.quorum, question, &mut decide)).await?;
        let opinions = opinions(&answers);
        if let Some(fate) = fate(self.quorum, &opinions) {
            self.contradict(
                &fate.contradicted,
                &format!("what became of {}: the others say {:?}", transaction.hash, fate.status),
            );
            return Ok(fate.status);
        }
        if opinions.len() < self.quorum {
            let failure = answers.into_iter().find_map(|(_, answer)| answer.err());
            return Err(failure.unwrap_or_else(|| self.too_few(opinions.len())));
        }
        // Not seen by enough of them yet: it waits, and where nobody saw it land it may be sent again.
        let somebody_saw_it = opinions
            .iter()
            .any(|(_, opinion)| is_final(opinion) || !matches!(provisional(opinion), TransactionStatus::Unknown));
        Ok(if somebody_saw_it { TransactionStatus::Pending } else { TransactionStatus::Unknown })
    }

    /// Hands the same bytes to one endpoint after the other until one takes them; to all of them at once where one
    /// endpoint's word is not enough, because it may only pretend.
    pub(super) async fn hand_over(&self, bytes: &[u8]) -> Result<Broadcast, ChainError> {
        let is_taken = |answer: &Result<Broadcast, ChainError>| {
            matches!(answer, Ok(Broadcast::Accepted | Broadcast::SequenceUsed | Broadcast::Underpriced))
        };
        let trusts = self.quorum == 1;
        let mut decide = |answers: &Answers<Broadcast>, occasion| {
            let taken = answers.iter().any(|(_, answer)| is_taken(answer));
            match occasion {
                Occasion::Answered if taken && trusts => Next::Stop,
                Occasion::Slow if taken => Next::Stop,
                Occasion::Answered | Occasion::Slow if trusts => Next::Ask,
                Occasion::Answered | Occasion::Slow => Next::Wait,
            }
        };
        let at_once = if trusts { 1 } else { self.drivers.len() };
        let question: &Question<'_, Broadcast> = &|chain| chain.broadcast(bytes);
        let mut answers = self.in_time(self.round(Class::Broadcast, at_once, question, &mut decide)).await?;
        answers.sort_by_key(|(_, answer)| match answer {
            Ok(Broadcast::Accepted) => 0,
            Ok(Broadcast::SequenceUsed) => 1,
            Ok(Broadcast::Underpriced) => 2,
            Ok(Broadcast::Refused { .. }) => 3,
            Err(_) => 4,
        });
        let best = answers.into_iter().next().map(|(_, answer)| answer);
        best.unwrap_or_else(|| Err(self.unavailable("no endpoint could be asked".to_owned())))
    }
}

/// Whether the chain said it, and not an endpoint's failure.
fn is_said<T>(answer: &Result<T, ChainError>) -> bool {
    answer.as_ref().err().is_none_or(|error| !error.is_endpoint_failure())
}

fn opinions(answers: &Answers<TransactionStatus>) -> Vec<(usize, TransactionStatus)> {
    answers.iter().filter_map(|(number, answer)| Some((*number, answer.as_ref().ok()?.clone()))).collect()
}
