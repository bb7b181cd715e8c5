//! What can happen in the outbox's world, and which of it can happen now.

use steward_adapters::chain::Broadcast;
use steward_adapters::ledger::Lost;
use steward_adapters::outbox::Effect;

use crate::world::{FAILED, POLICY, World, sequences};

/// How far an effect gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carry {
    /// It is carried out.
    Whole,
    /// It is carried out, then the process is killed before it is recorded.
    ThenCrash,
    /// It reaches the chain, but the answer is lost.
    ReplyLost,
    /// It does not reach the chain.
    NotSent,
    /// It does not reach the chain, and the endpoint answers that.
    Swallowed(Answer),
    /// Nothing is signed.
    NotSigned(Fault),
    /// Nobody has what tells it.
    Untold,
    /// It is asked after and not sent: the chain is paused.
    AskedInstead,
}

/// What an endpoint says that takes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    Accepted,
    SequenceUsed,
    Underpriced,
    Refused,
}

/// Whose fault it is that nothing was signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The intent's own: a fee above its cap, a payment that the account cannot make.
    Own,
    /// The endpoint's, or the signer's.
    Others,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Move {
    /// Something is to be done, or is asked for again.
    Submit(u64),
    /// It is not wanted any more.
    Withdraw(u64),
    /// Its outcome is taken note of.
    Acknowledge(u64),
    /// An effect is carried out and recorded in one.
    Carry(usize, Carry),
    /// An effect is carried out, and not recorded yet.
    Begin(usize, Carry),
    /// What it gave is recorded.
    Finish,
    Crash,
    /// The process is killed, and started with the other key.
    ChangeKey,
    Mine,
    /// A block is made that nothing of what waits is in.
    MineEmpty,
    Stranger,
    Reorganize(Lost),
    ForgetPool,
    /// The pool takes nothing any more for the price that a first transaction offers.
    RaisePrice,
    Wait(u64),
}

impl Move {
    /// Whether it is one of the things that seldom happen, whose number the search bounds.
    pub const fn is_fault(self) -> bool {
        match self {
            Self::Carry(_, carry) | Self::Begin(_, carry) => !matches!(carry, Carry::Whole),
            Self::Submit(_) | Self::Acknowledge(_) | Self::Finish | Self::Mine | Self::MineEmpty | Self::Wait(_) => {
                false
            }
            Self::Withdraw(_)
            | Self::Crash
            | Self::ChangeKey
            | Self::Stranger
            | Self::Reorganize(_)
            | Self::ForgetPool
            | Self::RaisePrice => true,
        }
    }
}

impl World {
    /// What may happen next; `may_fail` says whether anything may that seldom does.
    pub fn moves(&self, faults: &[Move], may_fail: bool) -> Vec<Move> {
        let mut moves = vec![Move::Mine];
        // Without sequence numbers nobody must take what waits.
        moves.extend(sequences(&self.ledger).is_none().then_some(Move::MineEmpty));
        moves.extend(self.word_moves(may_fail));
        if self.under_way.is_some() {
            moves.push(Move::Finish);
        } else {
            let effects = self.effects();
            moves.extend(effects.is_empty().then_some(Move::Wait(POLICY.stuck_ms)));
            for (number, effect) in effects.iter().enumerate() {
                let carries = carries(effect, may_fail);
                moves.extend(carries.into_iter().map(|carry| Move::Begin(number, carry)));
            }
        }
        moves.extend(faults.iter().filter(|_| may_fail));
        moves
    }

    /// What those may say who want something done.
    fn word_moves(&self, may_fail: bool) -> Vec<Move> {
        let mut moves = Vec::new();
        for number in (0..self.wishes).filter(|number| !self.acknowledged.contains(number)) {
            let is_next = number == 0 || self.submitted.contains(&(number - 1));
            let again = self.withdrawn.contains(&number);
            moves.extend((is_next && (!again || may_fail)).then_some(Move::Submit(number)));
            if self.submitted.contains(&number) && !again {
                moves.push(Move::Acknowledge(number));
                moves.extend(may_fail.then_some(Move::Withdraw(number)));
            }
        }
        moves
    }
}

impl From<Answer> for Broadcast {
    fn from(answer: Answer) -> Self {
        match answer {
            Answer::Accepted => Self::Accepted,
            Answer::SequenceUsed => Self::SequenceUsed,
            Answer::Underpriced => Self::Underpriced,
            Answer::Refused => Self::Refused { reason: FAILED.to_owned() },
        }
    }
}

/// The ways in which an effect may go.
fn carries(effect: &Effect, may_fail: bool) -> Vec<Carry> {
    use Answer::{Accepted, Refused, SequenceUsed, Underpriced};
    let mut carries = vec![Carry::Whole];
    match effect {
        Effect::Sign { .. } if may_fail => carries.extend([Fault::Own, Fault::Others].map(Carry::NotSigned)),
        Effect::Broadcast { .. } if may_fail => {
            carries.extend([Carry::ReplyLost, Carry::NotSent, Carry::AskedInstead]);
            carries.extend([Accepted, SequenceUsed, Underpriced, Refused].map(Carry::Swallowed));
        }
        Effect::Query { .. } if may_fail => carries.push(Carry::Untold),
        _ => {}
    }
    carries
}
