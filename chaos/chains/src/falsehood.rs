//! False answers: of a node that is behind, and of one that lies. Both are consistent in themselves, so that only other
//! nodes can tell.

mod cosmos;
mod evm;
mod solana;

use serde_json::{Value, json};

use crate::proxy::{Closed, Upstream};

/// How many blocks a node is behind.
const BLOCKS_BEHIND: u64 = 20;
/// How many blocks a liar is ahead.
const BLOCKS_AHEAD: u64 = 1_000;

/// Which methods an endpoint has and what they answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// Ethereum's JSON-RPC.
    Evm,
    /// CometBFT's, with the application's queries in it.
    Cosmos,
    /// Solana's.
    Solana,
}

impl Dialect {
    /// What a node answers that is [`BLOCKS_BEHIND`] blocks behind.
    pub(crate) async fn behind(self, call: &Value, node: &Upstream) -> Result<Value, Closed> {
        match self {
            Self::Evm => evm::behind(call, node).await,
            Self::Cosmos => cosmos::behind(call, node).await,
            Self::Solana => solana::behind(call, node).await,
        }
    }

    /// What a liar answers.
    pub(crate) async fn lie(self, call: &Value, node: &Upstream) -> Result<Value, Closed> {
        match self {
            Self::Evm => evm::lie(call, node).await,
            Self::Cosmos => cosmos::lie(call, node).await,
            Self::Solana => solana::lie(call, node).await,
        }
    }
}

fn method(call: &Value) -> &str {
    call["method"].as_str().unwrap_or_default()
}

fn answer(call: &Value, result: Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": call["id"], "result": result })
}

fn refusal(call: &Value, code: i64, message: &str, data: &str) -> Value {
    let error = json!({ "code": code, "message": message, "data": data });
    json!({ "jsonrpc": "2.0", "id": call["id"], "error": error })
}
