//! What the transactions of a ledger have done: balances, anchors, what contracts remember. Rebuilt from the blocks
//! whenever somebody asks, so that it is never stored and never wrong after a reorganisation.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{ACCOUNT, ENDOWMENT};
use crate::chain::{Action, Amount, AnchorPoint};

/// The state after some of the transactions.
#[derive(Debug, Default)]
pub(super) struct State {
    /// What was received less what was paid, the ledger's own account apart, which begins with its endowment.
    balances: BTreeMap<(String, Option<String>), Amount>,
    anchors: BTreeMap<(String, [u8; 32]), AnchorPoint>,
    /// The last input of each contract.
    inputs: BTreeMap<String, Bytes>,
}

impl State {
    /// Does what a transaction says; false when it may not, and nothing is changed then.
    pub(super) fn apply(&mut self, action: &Action) -> bool {
        match action {
            Action::DeployReceiptLog | Action::Deploy { .. } | Action::Fill => true,
            Action::Anchor { contract, point } => self.anchor(contract, *point),
            Action::Transfer { to, amount, asset } => self.pay(to, *amount, asset.as_deref()),
            Action::Call { contract, input, value } => {
                let paid = self.pay(contract, *value, None);
                if paid {
                    self.inputs.insert(contract.clone(), input.clone());
                }
                paid
            }
        }
    }

    pub(super) fn balance(&self, account: &str, asset: Option<&str>) -> Amount {
        let unpaid = if account == ACCOUNT { ENDOWMENT } else { Amount::ZERO };
        self.balances.get(&(account.to_owned(), asset.map(str::to_owned))).copied().unwrap_or(unpaid)
    }

    pub(super) fn anchor_of(&self, contract: &str, log_id: &[u8; 32]) -> Option<AnchorPoint> {
        self.anchors.get(&(contract.to_owned(), *log_id)).copied()
    }

    /// What the contract was told last.
    pub(super) fn input_of(&self, contract: &str) -> Bytes {
        self.inputs.get(contract).cloned().unwrap_or_default()
    }

    /// A log does not shrink and does not have two roots of one size.
    fn anchor(&mut self, contract: &str, point: AnchorPoint) -> bool {
        let before = self.anchor_of(contract, &point.log_id);
        let good = before.is_none_or(|newest| point.may_follow(&newest));
        if good {
            self.anchors.insert((contract.to_owned(), point.log_id), point);
        }
        good
    }

    fn pay(&mut self, to: &str, amount: Amount, asset: Option<&str>) -> bool {
        let Some(left) = self.balance(ACCOUNT, asset).checked_sub(amount) else { return false };
        self.balances.insert((ACCOUNT.to_owned(), asset.map(str::to_owned)), left);
        let received = self.balance(to, asset).checked_add(amount).expect("there is only the endowment");
        self.balances.insert((to.to_owned(), asset.map(str::to_owned)), received);
        true
    }
}
