//! One direct call with its hold: reserve, grow slice by slice, settle with a receipt.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use steward_inference::{FinishReason, GenerateRequest, Generation, GenerationEvent, Model, Prompt};
use steward_receipts::{Function, Hash, Leaf, LeafModel};
use steward_storage::Txn;
use steward_types::limits::{DIRECT_CALL_TIME_MAX, HOLD_SLICE_TOKENS};
use steward_types::{ErrorCode, HoldId, Micros, StepPath, Timestamp};
use tokio::sync::{mpsc, oneshot};

use super::{DirectCall, DirectChatEvent, DirectEmbedding, DirectUsage};
use crate::budget::{Budget, HoldRequest, Lane, LedgerError, Price, Settled, Usage, ledger};
use crate::host::{Entity, EntityId};
use crate::lease::Fence;
use crate::pause::{self, PauseSubject};
use crate::receipt_log::{append_pending, direct_call_session};
use crate::service::{Failure, Steward};

/// The agent that stands in the receipts of direct calls, which have none.
const DIRECT_AGENT: &str = "direct";

type Events = mpsc::Sender<Result<DirectChatEvent, Failure>>;

/// A call with its hold.
pub(super) struct Billed {
    pub steward: Steward,
    pub call: DirectCall,
    pub model: Arc<dyn Model>,
    pub price: Price,
    /// The account that the call has to itself.
    pub lane: Lane,
    pub request: String,
    pub hold: HoldId,
    pub function: &'static str,
    pub prompt_hash: Hash,
    /// When it began, by the monotonic clock.
    pub started: Duration,
    /// What is held now.
    pub held: Micros,
}

/// A generation that runs, and how far it has come.
struct Stream {
    generation: Generation,
    prompt_tokens: u32,
    max_tokens: u32,
    /// Tokens that are paid for.
    granted: u32,
    made: u32,
    text: String,
}

/// How a generation ended.
enum End {
    /// By itself.
    Finished { usage: Usage, reason: FinishReason },
    /// Its client went away.
    Abandoned,
    /// The model or the budget's store failed.
    Failed(Failure),
}

impl Billed {
    /// Generates until the end, and settles whichever way it ends.
    pub(super) async fn generate(
        mut self,
        request: GenerateRequest,
        started: oneshot::Sender<Result<(), Failure>>,
        events: Events,
    ) {
        let mut stream = match self.begin(request).await {
            Ok(stream) => stream,
            Err(failure) => {
                // A client that has gone away needs no answer.
                drop(started.send(Err(failure)));
                return;
            }
        };
        drop(started.send(Ok(())));
        let end = self.follow(&mut stream, &events).await;
        let Stream { generation, prompt_tokens, made, text, .. } = stream;
        drop(generation);
        let so_far = self.usage(prompt_tokens, made);
        let last = match end {
            End::Finished { usage, reason } => {
                let settled = self.settle(usage, &text).await;
                Some(settled.map(|usage| DirectChatEvent::Finished { usage, reason }))
            }
            End::Abandoned => self.settle(so_far, &text).await.err().map(Err),
            End::Failed(failure) if made == 0 => {
                self.release().await;
                Some(Err(failure))
            }
            End::Failed(failure) => Some(Err(self.settle(so_far, &text).await.err().unwrap_or(failure))),
        };
        if let Some(Err(failure)) = &last {
            tracing::warn!(project = %self.call.project, hold = %self.hold, error = %failure, "a direct call failed");
        }
        if let Some(last) = last {
            drop(events.send(last).await);
        }
    }

    async fn begin(&mut self, request: GenerateRequest) -> Result<Stream, Failure> {
        let prompt_tokens = self.model.count_tokens(&request.prompt).await?;
        let max_tokens = request.max_tokens;
        self.reserve(prompt_tokens, max_tokens.min(HOLD_SLICE_TOKENS)).await?;
        let granted = self.tokens_within(prompt_tokens, max_tokens);
        if granted == 0 {
            self.release().await;
            let message = "the budget pays for the prompt but for no token of an answer";
            return Err(Failure::new(ErrorCode::BudgetExhausted, message));
        }
        let generation = match self.model.generate(request).await {
            Ok(generation) => generation,
            Err(error) => {
                self.release().await;
                return Err(error.into());
            }
        };
        generation.credit().grant(granted);
        Ok(Stream { generation, prompt_tokens, max_tokens, granted, made: 0, text: String::new() })
    }

    async fn follow(&mut self, stream: &mut Stream, events: &Events) -> End {
        loop {
            let event = tokio::select! {
                event = stream.generation.next() => event,
                () = events.closed() => return End::Abandoned,
            };
            let (text, index) = match event {
                Some(Ok(GenerationEvent::Token { text, index })) => (text, index),
                Some(Ok(GenerationEvent::Finished { usage, finish_reason })) => {
                    let usage = Usage {
                        input_tokens: u64::from(usage.prompt_tokens),
                        output_tokens: u64::from(usage.completion_tokens),
                        millis: usage.compute_micros.div_ceil(1_000),
                    };
                    return End::Finished { usage, reason: finish_reason };
                }
                Some(Err(error)) => return End::Failed(error.into()),
                None => return End::Failed(Failure::new(ErrorCode::Internal, "the model ended without saying why")),
            };
            stream.made = stream.made.max(index.saturating_add(1));
            stream.text.push_str(&text);
            if !text.is_empty() && events.send(Ok(DirectChatEvent::Text(text))).await.is_err() {
                return End::Abandoned;
            }
            let used_up = stream.made >= stream.granted && stream.granted < stream.max_tokens;
            if used_up && let Err(failure) = self.grow(stream).await {
                return End::Failed(failure);
            }
        }
    }

    /// Holds another slice, or as much of it as there is; with nothing more, the stream ends where it is.
    async fn grow(&mut self, stream: &mut Stream) -> Result<(), Failure> {
        let wanted = stream.granted.saturating_add(HOLD_SLICE_TOKENS).min(stream.max_tokens);
        self.grow_hold(self.cost(stream.prompt_tokens, wanted)?).await?;
        let granted = self.tokens_within(stream.prompt_tokens, wanted);
        let credit = stream.generation.credit();
        if granted > stream.granted {
            credit.grant(granted - stream.granted);
            stream.granted = granted;
        } else {
            credit.finish();
        }
        Ok(())
    }

    /// Embeds texts and settles.
    pub(super) async fn embed(mut self, texts: Vec<String>) -> Result<DirectEmbedding, Failure> {
        let mut prompt_tokens = 0_u32;
        for text in &texts {
            let tokens = self.model.count_tokens(&Prompt::Text(text.clone())).await?;
            prompt_tokens = prompt_tokens.saturating_add(tokens);
        }
        self.reserve(prompt_tokens, 0).await?;
        match self.model.embed(texts).await {
            Ok(embedded) => {
                let usage = Usage {
                    input_tokens: u64::from(embedded.usage.prompt_tokens),
                    output_tokens: 0,
                    millis: embedded.usage.compute_micros.div_ceil(1_000),
                };
                let bytes: Vec<u8> = embedded.vectors.iter().flatten().flat_map(|x| x.to_le_bytes()).collect();
                let usage = self.settle_with(usage, Hash::of(&bytes)).await?;
                Ok(DirectEmbedding { vectors: embedded.vectors, usage })
            }
            Err(error) => {
                self.release().await;
                Err(error.into())
            }
        }
    }

    fn cost(&self, prompt_tokens: u32, tokens: u32) -> Result<Micros, Failure> {
        Ok(self.price.worst_case(u64::from(prompt_tokens), u64::from(tokens), 0)?)
    }

    fn tokens_within(&self, prompt_tokens: u32, most: u32) -> u32 {
        let spent = Usage { input_tokens: u64::from(prompt_tokens), ..Usage::default() };
        let within = self.price.output_tokens_within(self.held, spent).unwrap_or(u64::MAX);
        u32::try_from(within).unwrap_or(u32::MAX).min(most)
    }

    fn usage(&self, prompt_tokens: u32, made: u32) -> Usage {
        let took = self.steward.clock().monotonic().saturating_sub(self.started);
        let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        Usage { input_tokens: u64::from(prompt_tokens), output_tokens: u64::from(made), millis }
    }

    /// Holds the prompt and so many tokens, or as many as the budget pays for.
    async fn reserve(&mut self, prompt_tokens: u32, tokens: u32) -> Result<(), Failure> {
        let wanted = self.cost(prompt_tokens, tokens)?;
        let refused = match self.reserve_amount(wanted).await {
            Ok(held) => return self.hold_is(held),
            Err(failure) if failure.code == ErrorCode::BudgetExhausted => failure,
            Err(failure) => return Err(failure),
        };
        // Others may sit on allowances that they do not use.
        let budget = EntityId::from(&self.call.project);
        let reclaim = crate::budget::BudgetRequest::Reclaim;
        drop(self.steward.host().ask::<Budget>(&budget, reclaim, self.steward.deadline()).await);
        let (account, now) = (self.lane.account(), self.now());
        let txn = self.steward.store().begin();
        let affordable = ledger::affordable(&txn, &account, now).await?;
        let spent = Usage { input_tokens: u64::from(prompt_tokens), ..Usage::default() };
        let within = self.price.output_tokens_within(affordable, spent).unwrap_or(u64::MAX);
        let fewer = u32::try_from(within).unwrap_or(u32::MAX).min(tokens);
        if fewer == 0 && (tokens > 0 || affordable < wanted) {
            return Err(refused);
        }
        let held = self.reserve_amount(self.cost(prompt_tokens, fewer)?).await?;
        self.hold_is(held)
    }

    fn hold_is(&mut self, held: Micros) -> Result<(), Failure> {
        self.held = held;
        Ok(())
    }

    async fn reserve_amount(&self, worst_case: Micros) -> Result<Micros, Failure> {
        let now = self.now();
        let request = &HoldRequest {
            hold: self.hold,
            step: self.request.clone(),
            function: self.function.to_owned(),
            worst_case,
            expires_at: Some(now.saturating_add(DIRECT_CALL_TIME_MAX * 2)),
        };
        let account = &self.lane.account();
        let subject = &PauseSubject::Project(self.call.project.clone());
        let reserve = |txn: Txn| async move {
            if let Some(paused) = pause::of(&txn, subject).await? {
                return Err(Failure::new(ErrorCode::Paused, paused.to_string()));
            }
            Ok(ledger::reserve(&txn, account, request, now).await?)
        };
        self.transact(reserve).await
    }

    async fn grow_hold(&mut self, total: Micros) -> Result<(), Failure> {
        let (account, hold, now) = (&self.lane.account(), self.hold, self.now());
        let grow = |txn: Txn| async move { Ok(ledger::grow_up_to(&txn, account, hold, total, now).await?) };
        self.held = self.transact(grow).await?;
        Ok(())
    }

    /// Gives the hold back. A hold that cannot be given back now is given back when it expires.
    async fn release(&self) {
        let (account, hold, now) = (&self.lane.account(), self.hold, self.now());
        let release = |txn: Txn| async move {
            match ledger::release(&txn, account, hold, now).await {
                Err(LedgerError::HoldNotOpen { .. }) => Ok(()),
                other => Ok(other.map(drop)?),
            }
        };
        if let Err(failure) = self.transact(release).await {
            tracing::warn!(%hold, error = %failure, "a hold could not be released; it expires by itself");
        }
    }

    async fn settle(&mut self, usage: Usage, text: &str) -> Result<DirectUsage, Failure> {
        self.settle_with(usage, Hash::of(text.as_bytes())).await
    }

    /// Pays and writes the receipt in one transaction.
    async fn settle_with(&mut self, usage: Usage, response_hash: Hash) -> Result<DirectUsage, Failure> {
        let cost = self.price.cost(usage)?;
        if cost > self.held {
            // Only time that a price list charges for can pass what was held for tokens.
            self.grow_hold(cost).await?;
        }
        let price = cost.min(self.held);
        let leaf = &self.leaf(usage, price, response_hash)?;
        let (account, hold, now) = (&self.lane.account(), self.hold, self.now());
        let settle = |txn: Txn| async move {
            let Settled { at, .. } = ledger::settle(&txn, account, hold, price, now).await?;
            append_pending(&txn, &Leaf { time: at, ..leaf.clone() }).await?;
            Ok(())
        };
        self.transact(settle).await?;
        let count = |tokens: u64| u32::try_from(tokens).unwrap_or(u32::MAX);
        let (prompt_tokens, completion_tokens) = (count(usage.input_tokens), count(usage.output_tokens));
        Ok(DirectUsage { prompt_tokens, completion_tokens, price, receipt: hold })
    }

    fn leaf(&self, usage: Usage, price: Micros, response_hash: Hash) -> Result<Leaf, Failure> {
        let internal = |error: &dyn std::fmt::Display| Failure::new(ErrorCode::Internal, error.to_string());
        let card = self.model.card();
        Ok(Leaf {
            project: self.call.project.clone(),
            agent: DIRECT_AGENT.parse()?,
            session: direct_call_session(&self.call.project, &self.call.key),
            turn: 0,
            step: StepPath::top(1),
            hold: self.hold,
            function: self.function.parse::<Function>().map_err(|error| internal(&error))?,
            model: Some(LeafModel { id: card.id.clone(), hash: Hash::from_bytes(*card.hash.as_bytes()) }),
            prompt_hash: self.prompt_hash,
            response_hash,
            tokens_in: usage.input_tokens,
            tokens_out: usage.output_tokens,
            duration_ms: usage.millis,
            price,
            time: self.now(),
        })
    }

    /// Runs a transaction under the lease of the project's budget.
    async fn transact<T, F, Fut>(&self, body: F) -> Result<T, Failure>
    where
        F: FnMut(Txn) -> Fut + Send,
        Fut: Future<Output = Result<T, Failure>> + Send,
        T: Send,
    {
        let lease = self.steward.host().lease();
        let shard = lease.shard_of(Budget::KIND, &EntityId::from(&self.call.project));
        Fence::new(Arc::clone(lease), shard).run(&**self.steward.store(), body).await
    }

    fn now(&self) -> Timestamp {
        self.steward.clock().now()
    }
}
