//! `balance` and `read`: questions that change nothing, and may be asked again.

use serde_json::Value;
use steward_adapters::chain::{Chain, ChainError, Consistency, read_address, read_asset};
use steward_scripting::StepCall;
use steward_scripting::call::{AskedAt, BalanceOptions};
use steward_types::{ErrorCode, Micros};

use super::{Known, invalid};
use crate::budget::Usage;
use crate::session::journal::StepState;
use crate::session::record::StepOutcome;
use crate::session::steps::Begun;
use crate::session::turn::{Durability, Spent, StepResult, Turn};

/// What is asked of a contract.
pub(in crate::session::steps) struct Question {
    pub(in crate::session::steps) contract: String,
    pub(in crate::session::steps) signature: Option<String>,
    pub(in crate::session::steps) arguments: Value,
    pub(in crate::session::steps) at: AskedAt,
}

/// `balance`.
pub(in crate::session::steps) async fn balance(
    turn: &Turn,
    call: &StepCall,
    chain: &str,
    account: &str,
    options: BalanceOptions,
    begun: Begun,
) -> StepResult {
    let chain = match Known::find(turn, chain) {
        Ok(known) => &*known.settings.chain,
        Err(refused) => return refuse(turn, call, refused).await,
    };
    let asset = options.asset.map_or(Ok(None), |asset| read_asset(chain, &asset));
    let (account, asset) = match read_address(chain, account).and_then(|account| Ok((account, asset?))) {
        Ok(named) => named,
        Err(error) => return refuse(turn, call, invalid(&error)).await,
    };
    let at = consistency(options.at);
    let asked = async { Ok(Value::String(chain.balance(&account, asset.as_deref(), at).await?.into())) };
    ask(turn, call, begun, asked).await
}

/// `read`.
pub(in crate::session::steps) async fn read(
    turn: &Turn,
    call: &StepCall,
    chain: &str,
    question: Question,
    begun: Begun,
) -> StepResult {
    let chain = match Known::find(turn, chain) {
        Ok(known) => &*known.settings.chain,
        Err(refused) => return refuse(turn, call, refused).await,
    };
    let Question { contract, signature, arguments, at } = &question;
    let encode = |contract| Ok((contract, chain.encode_call(signature.as_deref(), arguments)?.input));
    let (contract, input) = match read_address(chain, contract).and_then(encode) {
        Ok(encoded) => encoded,
        Err(error) => return refuse(turn, call, invalid(&error)).await,
    };
    ask(turn, call, begun, answer(chain, &contract, signature.as_deref(), &input, consistency(*at))).await
}

async fn answer(
    chain: &dyn Chain,
    contract: &str,
    signature: Option<&str>,
    input: &[u8],
    at: Consistency,
) -> Result<Value, ChainError> {
    chain.decode_answer(signature, &chain.read(contract, input, at).await?)
}

/// Asks, and pays for an answer. A chain that does not answer, because every endpoint of it is left alone, says so at
/// once; every call of a driver has its own deadline.
async fn ask(
    turn: &Turn,
    call: &StepCall,
    begun: Begun,
    asked: impl Future<Output = Result<Value, ChainError>> + Send,
) -> StepResult {
    let price = match turn.prices.function(&call.function).map(|price| price.cost(Usage::default())) {
        Ok(Ok(price)) => price,
        Ok(Err(error)) | Err(error) => return Ok(turn.refuse(call, ErrorCode::PriceMissing, error.to_string())),
    };
    if begun == Begun::New {
        let state = StepState::Started { emitted_bytes: 0 };
        if let Err(refused) = turn.begin(call, Some(price), state, Vec::new()).await? {
            return refuse(turn, call, refused).await;
        }
    }
    let (outcome, price) = match turn.at_work.outside(asked).await {
        Ok(value) => (StepOutcome::Value(value), price),
        Err(error) => (StepOutcome::error(error.code(), error.in_full()), Micros::ZERO),
    };
    let spent = Spent { price, usage: Usage::default(), model: None };
    turn.finish(call, outcome, Some(spent), Durability::Next, Vec::new()).await
}

async fn refuse(turn: &Turn, call: &StepCall, refused: StepOutcome) -> StepResult {
    turn.finish(call, refused, None, Durability::Next, Vec::new()).await
}

const fn consistency(at: AskedAt) -> Consistency {
    match at {
        AskedAt::Confirmed => Consistency::Confirmed,
        AskedAt::Final => Consistency::Final,
        AskedAt::Latest => Consistency::Latest,
    }
}
