//! When a signed transaction expires. Who signs knows it from one endpoint, and one that names too early a block would have
//! a second transaction signed while the first can still land.

use steward_types::limits::EXPIRY_BLOCKS_AHEAD_MAX;

use super::Pool;
use crate::chain::{ChainError, SignedTransaction};

impl Pool {
    /// The transaction with an expiry that no single endpoint made up: not before the last block that enough of them
    /// say a transaction of now can be in, and not so long after it that it would be waited for without end.
    pub(super) async fn with_agreed_expiry(&self, signed: SignedTransaction) -> Result<SignedTransaction, ChainError> {
        let Some(claimed) = signed.expires.filter(|_| self.quorum > 1) else { return Ok(signed) };
        let agreed = self.reached(&|chain| chain.expiry()).await?.unwrap_or(claimed);
        let expires = claimed.clamp(agreed, agreed.saturating_add(EXPIRY_BLOCKS_AHEAD_MAX));
        Ok(SignedTransaction { expires: Some(expires), ..signed })
    }
}
