//! An order's name: the step that wants it, as in `ses_….2.5`. No two orders have one, however often a step is run.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use steward_types::{SessionId, StepPath};

/// The session, turn and step that want a transaction.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct OrderId {
    /// The session.
    pub session: SessionId,
    /// Its turn.
    pub turn: u64,
    /// The step of that turn.
    pub step: StepPath,
}

/// The text is not an order's id.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no order's id: give wait what send or call answered")]
pub struct OrderIdError(String);

impl fmt::Display for OrderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}.{}.{}", self.session, self.turn, self.step))
    }
}

impl FromStr for OrderId {
    type Err = OrderIdError;

    fn from_str(text: &str) -> Result<Self, OrderIdError> {
        let mut parts = text.splitn(3, '.');
        let mut read = || {
            let (session, turn, step) = (parts.next()?, parts.next()?, parts.next()?);
            Some(Self { session: session.parse().ok()?, turn: turn.parse().ok()?, step: step.parse().ok()? })
        };
        read().ok_or_else(|| OrderIdError(text.chars().take(100).collect()))
    }
}

impl TryFrom<String> for OrderId {
    type Error = OrderIdError;

    fn try_from(text: String) -> Result<Self, OrderIdError> {
        text.parse()
    }
}

impl From<OrderId> for String {
    fn from(id: OrderId) -> Self {
        id.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_orders_id_reads_back() {
        let id = OrderId { session: SessionId::from_bytes([7; 16]), turn: 2, step: StepPath::top(5).branch(1, 2) };
        assert_eq!(id.to_string().parse::<OrderId>().unwrap(), id);
        for bad in ["", "ses_1.2.3", "x.1.1", &format!("ses_{}.2", "07".repeat(16))] {
            assert!(bad.parse::<OrderId>().is_err(), "{bad}");
        }
    }
}
