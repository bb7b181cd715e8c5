//! A generation in the making: a stream of tokens, and the credit that paces it.
//!
//! A model makes a token only against credit, so that the caller can hold money slice by slice and a stream stops
//! exactly at its ceiling. A token that was not granted is never made.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::{Stream, StreamExt};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, mpsc};

use crate::ModelError;

/// What a generation or an embedding took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens read: the whole prompt with its template.
    pub prompt_tokens: u32,
    /// How many of them the replica had read before, for another request with the same beginning.
    #[serde(default)]
    pub cached_tokens: u32,
    /// Tokens made and handed out; the one that ends the text is not counted.
    pub completion_tokens: u32,
    /// Time that the replica computed for this request alone, in microseconds.
    pub compute_micros: u64,
}

/// Why a generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// The model said its last, or a stop sequence came.
    Stop,
    /// `max_tokens` or the context's end.
    Length,
    /// The caller granted no more credit.
    Budget,
}

/// What a generation tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GenerationEvent {
    /// A token was made and one unit of credit used.
    Token {
        /// The text that became certain with it: valid UTF-8, empty while a character is incomplete or a stop
        /// sequence may be beginning.
        text: String,
        /// How many tokens were made before this one. Text that was held back until the end comes with the last
        /// token's index once more: count tokens by `usage`, or by `index + 1`, not by events.
        index: u32,
    },
    /// The generation is over; nothing follows.
    Finished {
        /// What it took, exactly.
        usage: Usage,
        /// Why it is over.
        finish_reason: FinishReason,
    },
}

/// A whole generation at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completion {
    /// The text.
    pub text: String,
    /// What it took.
    pub usage: Usage,
    /// Why it is over.
    pub finish_reason: FinishReason,
}

/// What a model may do next, by its credit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CreditState {
    /// It may make a token.
    Granted,
    /// It must wait until more is granted.
    Waiting,
    /// No more will come: end with [`FinishReason::Budget`].
    Spent,
    /// Nobody listens any more: stop.
    Cancelled,
}

/// How many tokens a generation may still make. Clones share the same account.
#[derive(Clone)]
pub struct Credit(Arc<CreditAccount>);

struct CreditAccount {
    balance: Mutex<Balance>,
    changed: Notify,
    wake: Box<dyn Fn() + Send + Sync>,
}

/// What a generation's credit came to since it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CreditTotal {
    /// Tokens granted in all.
    pub tokens: u64,
    /// Nothing more will be granted.
    pub is_finished: bool,
}

#[derive(Debug, Default)]
struct Balance {
    tokens: u64,
    granted: u64,
    closed: bool,
    cancelled: bool,
    spent_after_cancellation: u64,
}

impl Credit {
    fn new(wake: impl Fn() + Send + Sync + 'static) -> Self {
        let (balance, changed) = (Mutex::default(), Notify::new());
        Self(Arc::new(CreditAccount { balance, changed, wake: Box::new(wake) }))
    }

    /// Allows `tokens` more tokens. Without effect after [`Self::finish`].
    pub fn grant(&self, tokens: u32) {
        self.change(|balance| {
            if !balance.closed {
                balance.tokens = balance.tokens.saturating_add(u64::from(tokens));
                balance.granted = balance.granted.saturating_add(u64::from(tokens));
            }
        });
    }

    /// Says that nothing more will be granted: what was granted is still made, then the generation ends with
    /// [`FinishReason::Budget`].
    pub fn finish(&self) {
        self.change(|balance| balance.closed = true);
    }

    /// Brings the account to what another one came to: it never takes anything back. For relays between nodes.
    pub fn raise_to(&self, total: CreditTotal) {
        self.change(|balance| {
            let more = total.tokens.saturating_sub(balance.granted);
            if !balance.closed {
                balance.tokens = balance.tokens.saturating_add(more);
                balance.granted = balance.granted.saturating_add(more);
            }
            balance.closed |= total.is_finished;
        });
    }

    /// What was granted since the generation began. For relays between nodes.
    pub fn total(&self) -> CreditTotal {
        let balance = self.0.balance.lock();
        CreditTotal { tokens: balance.granted, is_finished: balance.closed }
    }

    /// Waits until the total is another than `seen`, and returns it. For relays between nodes.
    pub async fn total_after(&self, seen: CreditTotal) -> CreditTotal {
        loop {
            let changed = self.0.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            match self.total() {
                same if same == seen => changed.await,
                total => return total,
            }
        }
    }

    /// Tokens that may still be made.
    pub fn remaining(&self) -> u64 {
        self.0.balance.lock().tokens
    }

    /// What the model may do next. For drivers.
    pub fn state(&self) -> CreditState {
        let balance = self.0.balance.lock();
        match *balance {
            Balance { cancelled: true, .. } => CreditState::Cancelled,
            Balance { tokens: 1.., .. } => CreditState::Granted,
            Balance { closed: true, .. } => CreditState::Spent,
            _ => CreditState::Waiting,
        }
    }

    /// Uses one token's credit, if there is any. For drivers.
    pub fn spend(&self) -> bool {
        let mut balance = self.0.balance.lock();
        let had_some = balance.tokens > 0;
        balance.tokens = balance.tokens.saturating_sub(1);
        balance.spent_after_cancellation += u64::from(had_some && balance.cancelled);
        had_some
    }

    /// Tokens that were made although nobody listened any more: at most the one that was in hand.
    pub fn spent_after_cancellation(&self) -> u64 {
        self.0.balance.lock().spent_after_cancellation
    }

    /// Waits until the state is another than [`CreditState::Waiting`], and returns it.
    pub async fn settled(&self) -> CreditState {
        loop {
            let changed = self.0.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            match self.state() {
                CreditState::Waiting => changed.await,
                state => return state,
            }
        }
    }

    fn cancel(&self) {
        self.change(|balance| balance.cancelled = true);
    }

    fn change(&self, edit: impl FnOnce(&mut Balance)) {
        edit(&mut self.0.balance.lock());
        self.0.changed.notify_waiters();
        (self.0.wake)();
    }
}

impl fmt::Debug for Credit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Credit").field(&*self.0.balance.lock()).finish()
    }
}

type EventStream = Pin<Box<dyn Stream<Item = Result<GenerationEvent, ModelError>> + Send>>;

/// A generation in the making: a stream that ends after `Finished` or an error. Dropping it cancels it within a token.
pub struct Generation {
    credit: Credit,
    events: EventStream,
}

impl Generation {
    /// A generation and the driver's end of it. `wake` is called at each change of credit, and at cancellation.
    ///
    /// At most `max_tokens` and one event wait in between, so the channel needs no other bound.
    pub fn channel(wake: impl Fn() + Send + Sync + 'static) -> (GenerationSink, Self) {
        let credit = Credit::new(wake);
        let (sender, mut receiver) = mpsc::unbounded_channel();
        let mut ended = false;
        let events = futures::stream::poll_fn(move |context| {
            let polled = receiver.poll_recv(context);
            match polled {
                _ if ended => Poll::Ready(None),
                Poll::Ready(None) => {
                    ended = true;
                    let what = "it stopped in the middle of a generation".to_owned();
                    Poll::Ready(Some(Err(ModelError::Failed { what })))
                }
                Poll::Ready(Some(event)) => {
                    ended = !matches!(event, Ok(GenerationEvent::Token { .. }));
                    Poll::Ready(Some(event))
                }
                Poll::Pending => Poll::Pending,
            }
        });
        let sink = GenerationSink { events: sender, credit: credit.clone() };
        (sink, Self { credit, events: Box::pin(events) })
    }

    /// A generation that makes its events only when asked for the next one, from a stream that is given its credit.
    pub fn from_stream<S>(make: impl FnOnce(Credit) -> S) -> Self
    where
        S: Stream<Item = Result<GenerationEvent, ModelError>> + Send + 'static,
    {
        let credit = Credit::new(|| ());
        let events = Box::pin(make(credit.clone()));
        Self { credit, events }
    }

    /// The account of what may still be made.
    pub fn credit(&self) -> Credit {
        self.credit.clone()
    }

    /// Grants as much as the request may need and waits for the end. Cancelling drops the generation.
    pub async fn complete(mut self) -> Result<Completion, ModelError> {
        self.credit.grant(u32::MAX);
        let mut text = String::new();
        while let Some(event) = self.next().await {
            match event? {
                GenerationEvent::Token { text: more, .. } => text.push_str(&more),
                GenerationEvent::Finished { usage, finish_reason } => {
                    return Ok(Completion { text, usage, finish_reason });
                }
            }
        }
        Err(ModelError::Failed { what: "it ended without saying why".to_owned() })
    }
}

impl Stream for Generation {
    type Item = Result<GenerationEvent, ModelError>;
    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.events.poll_next_unpin(context)
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        self.credit.cancel();
    }
}

impl fmt::Debug for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Generation").field("credit", &self.credit).finish_non_exhaustive()
    }
}

/// The driver's end of a generation.
#[derive(Debug)]
pub struct GenerationSink {
    events: mpsc::UnboundedSender<Result<GenerationEvent, ModelError>>,
    credit: Credit,
}

impl GenerationSink {
    /// The account of what may still be made.
    pub fn credit(&self) -> &Credit {
        &self.credit
    }

    /// Hands a token's text out; without effect when nobody listens.
    pub fn token(&self, text: String, index: u32) {
        self.send(Ok(GenerationEvent::Token { text, index }));
    }

    /// Ends the generation.
    pub fn finish(self, usage: Usage, finish_reason: FinishReason) {
        self.send(Ok(GenerationEvent::Finished { usage, finish_reason }));
    }

    /// Ends the generation with an error.
    pub fn fail(self, error: ModelError) {
        self.send(Err(error));
    }

    fn send(&self, event: Result<GenerationEvent, ModelError>) {
        // A closed channel means that the caller has gone, which the credit's state says too.
        drop(self.events.send(event));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_driver_that_goes_away_is_an_error_once() {
        let (sink, mut generation) = Generation::channel(|| ());
        sink.token("a".to_owned(), 0);
        drop(sink);
        assert!(matches!(generation.next().await, Some(Ok(GenerationEvent::Token { .. }))));
        assert!(matches!(generation.next().await, Some(Err(ModelError::Failed { .. }))));
        assert!(generation.next().await.is_none());
    }

    #[tokio::test]
    async fn an_account_follows_another_and_gives_nothing_twice() {
        let (_sink, asked) = Generation::channel(|| ());
        let (made, _generation) = Generation::channel(|| ());
        let waiting = asked.credit().total();
        asked.credit().grant(5);
        let total = asked.credit().total_after(waiting).await;
        made.credit().raise_to(total);
        made.credit().raise_to(total);
        assert_eq!(made.credit().remaining(), 5);
        asked.credit().grant(2);
        asked.credit().finish();
        made.credit().raise_to(asked.credit().total());
        made.credit().raise_to(total);
        assert_eq!((made.credit().remaining(), made.credit().total().is_finished), (7, true));
    }

    #[tokio::test]
    async fn credit_is_used_up_before_it_is_spent_for_good() {
        let (sink, generation) = Generation::channel(|| ());
        let (granted, seen) = (generation.credit(), sink.credit());
        assert_eq!(seen.state(), CreditState::Waiting);
        granted.grant(1);
        granted.finish();
        assert_eq!(seen.settled().await, CreditState::Granted);
        assert!(seen.spend() && !seen.spend());
        granted.grant(5);
        assert_eq!(seen.settled().await, CreditState::Spent);
        drop(generation);
        assert_eq!(seen.state(), CreditState::Cancelled);
    }
}
