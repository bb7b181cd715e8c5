//! What endpoints leave out, or say of what they lack: it is taken for their failure, and not for what the chain says.

use serde_json::Value;
use steward_adapters::chain::{Chain as _, Consistency};
use steward_adapters::signer::Signer as _;
use steward_adapters_solana::SolanaChain;

use crate::cluster::key;
use crate::endpoint::{asked, is_unavailable};

const INVALID_PARAMETERS: i64 = -32602;

#[tokio::test]
async fn an_endpoint_that_calls_a_question_invalid_has_failed() {
    let answer = |_: &str, _: &Value| Err(INVALID_PARAMETERS);
    is_unavailable(asked(answer, async |chain| chain.read_anchor("", &[7; 32]).await).await);
    let balance = async |chain: &SolanaChain| chain.balance(key(2).address(), None, Consistency::Final).await;
    is_unavailable(asked(answer, balance).await);
}
