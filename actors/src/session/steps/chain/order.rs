//! `send` and `call`: what they want is judged, consented to if need be, and recorded.

use serde::Serialize;
use serde_json::{Value, json};
use steward_adapters::chain::{Action, ContractCall, read_address, read_asset};
use steward_receipts::Hash;
use steward_scripting::StepCall;
use steward_scripting::call::SendOptions;
use steward_types::limits::{
    CHAIN_CALL_INPUT_BYTES_MAX, CHAIN_CALL_METHOD_BYTES_MAX, CONSENT_DETAILS_BYTES_MAX, CONSENT_QUESTION_CHARS_MAX,
};
use steward_types::{AgentId, Amount, ErrorCode, Micros};

use super::{Known, invalid};
use crate::budget::{HoldRequest, Usage};
use crate::chain::orders::{self, NewOrder, OrderError};
use crate::chain::spending::{Act, Policy, Spend, SpendRefused, SpendingTerms, Verdict};
use crate::chain::{ChainActor, ChainRequest, OrderId, orders::Order};
use crate::host::EntityId;
use crate::session::approval::{Approval, ApprovalState};
use crate::session::change::Change;
use crate::session::error::SessionError;
use crate::session::event::EventBody;
use crate::session::journal::{StepState, Wait};
use crate::session::key;
use crate::session::record::StepOutcome;
use crate::session::steps::Answer;
use crate::session::steps::wait::{approval_id, ask_person};
use crate::session::turn::{Durability, Turn};

/// What a contract is told.
pub(in crate::session::steps) struct Told {
    pub(in crate::session::steps) contract: String,
    pub(in crate::session::steps) signature: Option<String>,
    pub(in crate::session::steps) arguments: Value,
    pub(in crate::session::steps) value: Amount,
}

/// What is ordered of a chain.
struct Wanted {
    chain: String,
    action: Action,
    spend: Spend,
    /// What a contract is told, for whoever is asked for consent.
    message: Option<Message>,
}

/// A call's words as the script has them.
struct Message {
    signature: Option<String>,
    arguments: Value,
}

/// `send`.
pub(in crate::session::steps) async fn send(
    turn: &Turn,
    call: &StepCall,
    chain: String,
    to: String,
    amount: Amount,
    options: SendOptions,
) -> Result<Answer, SessionError> {
    let known = match Known::find(turn, &chain) {
        Ok(known) => known,
        Err(refused) => return refuse(turn, call, refused).await,
    };
    let driver = &known.settings.chain;
    let asset = options.asset.map_or(Ok(None), |asset| read_asset(&**driver, &asset));
    let (to, asset) = match read_address(&**driver, &to).and_then(|to| Ok((to, asset?))) {
        Ok(named) => named,
        Err(error) => return refuse(turn, call, invalid(&error)).await,
    };
    if amount == Amount::ZERO {
        let nothing = StepOutcome::error(ErrorCode::StepInvalid, "send: the amount is nothing");
        return refuse(turn, call, nothing).await;
    }
    let action = Action::Transfer { to: to.clone(), amount, asset: asset.clone() };
    let spend = Spend { act: Act::Pay { to }, asset, amount };
    order(turn, call, &known, Wanted { chain, action, spend, message: None }).await
}

/// `call`.
pub(in crate::session::steps) async fn call_contract(
    turn: &Turn,
    call: &StepCall,
    chain: String,
    told: Told,
) -> Result<Answer, SessionError> {
    let known = match Known::find(turn, &chain) {
        Ok(known) => known,
        Err(refused) => return refuse(turn, call, refused).await,
    };
    let Told { contract, signature, arguments, value } = told;
    let driver = &known.settings.chain;
    let named = read_address(&**driver, &contract);
    let encoded = named.and_then(|contract| Ok((contract, driver.encode_call(signature.as_deref(), &arguments)?)));
    let (contract, encoded) = match encoded {
        Ok(encoded) => encoded,
        Err(error) => return refuse(turn, call, invalid(&error)).await,
    };
    if let Err(refused) = check_size(&encoded) {
        return refuse(turn, call, refused).await;
    }
    if encoded.tokens.is_some() && value > Amount::ZERO {
        let both = StepOutcome::error(ErrorCode::StepInvalid, "call: no coin goes with a call of a token here");
        return refuse(turn, call, both).await;
    }
    // What a token's own contract makes or destroys of it counts as a payment of it does.
    let (asset, amount) = match encoded.tokens {
        Some(tokens) => (Some(contract.clone()), tokens),
        None => (None, value),
    };
    let action = Action::Call { contract: contract.clone(), input: encoded.input, value };
    let act = Act::Call { contract, method: encoded.method };
    let spend = Spend { act, asset, amount };
    order(turn, call, &known, Wanted { chain, action, spend, message: Some(Message { signature, arguments }) }).await
}

/// The row of an order's intent holds its call several times over, and must fit the store: one that did not would stop the
/// chain's entity for everybody.
fn check_size(encoded: &ContractCall) -> Result<(), StepOutcome> {
    let parts = [
        ("the call's input", encoded.input.len(), CHAIN_CALL_INPUT_BYTES_MAX),
        ("the method's name", encoded.method.len(), CHAIN_CALL_METHOD_BYTES_MAX),
    ];
    match parts.into_iter().find(|(_, size, most)| size > most) {
        None => Ok(()),
        Some((what, size, most)) => {
            let message = format!("call: {what} has {size} bytes, and {most} are the most: pass less at once");
            Err(StepOutcome::error(ErrorCode::StepInvalid, message))
        }
    }
}

/// Records what is wanted, if both sides' rules allow it, and answers its id.
async fn order(turn: &Turn, call: &StepCall, known: &Known<'_>, wanted: Wanted) -> Result<Answer, SessionError> {
    let terms = known.settings.spending.as_ref();
    let rules = terms.and_then(|terms| Some((terms, terms.of(&turn.record.project)?)));
    let Some((terms, operator)) = rules else {
        let (project, chain) = (&turn.record.project, &wanted.chain);
        let message = format!("the operator lets the project {project} send nothing on {chain}");
        return refuse(turn, call, StepOutcome::error(ErrorCode::ChainForbidden, message)).await;
    };
    let policy = Policy { agent: known.rules.clone(), operator: operator.clone() };
    match judge(turn, &policy, &wanted).await? {
        Ok(Verdict::Allowed) => {}
        Ok(Verdict::Ask) if is_agreed(turn, call).await? => {}
        Ok(Verdict::Ask) => return ask(turn, call, &wanted).await,
        Err(refused) => return refuse(turn, call, refusal(&refused)).await,
    }
    match order_of(turn, call, terms, wanted, policy) {
        Ok(new) => record(turn, call, new).await,
        Err(refused) => refuse(turn, call, refused).await,
    }
}

/// The judgement as of now; the transaction that records the order judges again.
async fn judge(turn: &Turn, policy: &Policy, wanted: &Wanted) -> Result<Result<Verdict, SpendRefused>, SessionError> {
    let (store, record, now) = (&*turn.environment.store, &turn.record, turn.now());
    let asset = wanted.spend.asset.as_deref();
    let spent = orders::spent_today(store, &wanted.chain, &record.project, &record.agent, asset, now).await?;
    Ok(policy.judge(&wanted.spend, spent, now))
}

/// The order with its price at most.
fn order_of(
    turn: &Turn,
    call: &StepCall,
    terms: &SpendingTerms,
    wanted: Wanted,
    policy: Policy,
) -> Result<NewOrder, StepOutcome> {
    let price = turn.prices.function(&call.function).and_then(|price| price.cost(Usage::default()));
    let price_missing = |reason: String| StepOutcome::error(ErrorCode::PriceMissing, reason);
    let call_price = price.map_err(|error| price_missing(error.to_string()))?;
    let most = terms.fee_price.of(terms.fee_max).and_then(|fee| fee.add(call_price).ok());
    let held: Micros = most.ok_or_else(|| price_missing("the largest fee is more than a budget can say".to_owned()))?;
    let Wanted { chain, action, spend, message: _ } = wanted;
    let order = Order {
        id: OrderId { session: turn.place.session, turn: turn.place.turn, step: call.path.clone() },
        project: turn.record.project.clone(),
        agent: turn.record.agent.clone(),
        action,
        function: call.function.clone(),
        arguments_hash: call.arguments_hash,
        recorded: turn.now(),
        hold: turn.hold(call),
        held,
        call_price,
        fee_max: terms.fee_max,
        fee_price: terms.fee_price,
    };
    Ok(NewOrder { chain, order, spend, policy })
}

/// One commit: the journal has the step's answer, the budget holds the largest fee, and the chain has the order.
async fn record(turn: &Turn, call: &StepCall, new: NewOrder) -> Result<Answer, SessionError> {
    let (order, chain) = (&new.order, new.chain.clone());
    let outcome = StepOutcome::Value(Value::String(order.id.to_string()));
    let mut step = turn.row(call, StepState::Finished(outcome.clone()));
    step.hold = Some(order.hold);
    let hold = HoldRequest {
        hold: order.hold,
        step: format!("{}/{}", turn.place.turn, call.path),
        function: call.function.clone(),
        worst_case: order.held,
        expires_at: None,
    };
    let finished = EventBody::StepFinished {
        function: call.function.clone(),
        result: Value::String(order.id.to_string()),
        price: Micros::ZERO,
        hold: Some(order.hold),
        usage: None,
    };
    let changes = vec![
        Change::Hold(hold),
        Change::Step(call.path.clone(), Box::new(step)),
        Change::Event(Some(call.path.clone()), finished),
        Change::Order(Box::new(new)),
    ];
    match turn.commit(changes).await {
        Ok(_) => {}
        Err(SessionError::Ledger(error)) => {
            return refuse(turn, call, StepOutcome::error(error.code(), error.to_string())).await;
        }
        Err(SessionError::Order(OrderError::Refused(refused))) => return refuse(turn, call, refusal(&refused)).await,
        Err(SessionError::Order(error)) => {
            return refuse(turn, call, StepOutcome::error(error.code(), error.to_string())).await;
        }
        Err(error) => return Err(error),
    }
    wake(turn, &chain);
    Ok(Answer::Done(outcome))
}

impl Wanted {
    /// What a person is asked.
    fn question(&self, agent: &AgentId) -> String {
        let (chain, amount, act) = (&self.chain, self.spend.amount, self.spend.act.in_words());
        let Some(Message { arguments, .. }) = &self.message else {
            return format!("May {agent} {act} {amount} of {} on {chain}?", self.spend.asset_in_words());
        };
        let told = shortened(&arguments.to_string(), CONSENT_QUESTION_CHARS_MAX);
        let what = self.spend.asset_in_words();
        format!("May {agent} {act}, telling it {told}, with {amount} of {what} on {chain}?")
    }

    /// The same in parts. Of arguments that are too long there is the beginning, and the hash of the whole.
    fn details(&self, to: &impl Serialize) -> Value {
        let Self { chain, spend, message, .. } = self;
        let mut details = json!({
            "choices": [], "to": to, "chain": chain, "act": spend.act.in_words(), "amount": spend.amount,
            "asset": spend.asset,
        });
        let Some(Message { signature, arguments }) = message else { return details };
        let text = arguments.to_string();
        details["signature"] = json!(signature);
        if text.len() <= CONSENT_DETAILS_BYTES_MAX {
            details["arguments"] = arguments.clone();
        } else {
            details["arguments_begin"] = json!(shortened(&text, CONSENT_QUESTION_CHARS_MAX));
            details["arguments_bytes"] = json!(text.len());
            details["arguments_sha256"] = json!(Hash::of(text.as_bytes()).to_string());
        }
        details
    }
}

/// The beginning of a text, with dots where something is left out.
fn shortened(text: &str, most: usize) -> String {
    let mut rest = text.chars();
    let mut begin: String = rest.by_ref().take(most).collect();
    if rest.next().is_some() {
        begin.push('…');
    }
    begin
}

/// Tells the chain that there is an order; a word that is lost is made up for when the chain looks by itself.
fn wake(turn: &Turn, chain: &str) {
    let Ok(id) = EntityId::new(chain) else { return };
    if let Err(error) = turn.context.host().tell_from_inside::<ChainActor>(&id, ChainRequest::Wake) {
        tracing::debug!(%chain, %error, "a chain could not be told of an order");
    }
}

/// Whether a person has agreed to this step before.
async fn is_agreed(turn: &Turn, call: &StepCall) -> Result<bool, SessionError> {
    let row = key::approval(&turn.record.project, &approval_id(turn, call));
    let found = turn.environment.store.begin().load_snapshot::<Approval>(&row).await?;
    Ok(found.is_some_and(|approval| approval.state == ApprovalState::Approved))
}

/// Asks a person, as `ask_human` does. With consent the step is run again, and then records the order.
async fn ask(turn: &Turn, call: &StepCall, wanted: &Wanted) -> Result<Answer, SessionError> {
    let rules = &turn.agent.manifest.approvals;
    let asked = (wanted.question(&turn.record.agent), wanted.details(&rules.to));
    ask_person(turn, call, asked, rules.timeout_ms, |expires| Wait::Consent { expires }).await
}

fn refusal(refused: &SpendRefused) -> StepOutcome {
    StepOutcome::Error { code: refused.code(), message: refused.to_string(), data: refused.data() }
}

async fn refuse(turn: &Turn, call: &StepCall, refused: StepOutcome) -> Result<Answer, SessionError> {
    Ok(Answer::Done(turn.finish(call, refused, None, Durability::Next, Vec::new()).await?))
}
