//! Orders: transactions that sessions want of a chain, and what came of them.
//!
//! An order is recorded in the transaction of the step that wants it, under the step's own name, which is its idempotency
//! key for good; the chain's entity takes it into its outbox in a transaction of its own, and settles it in the one that
//! takes the outcome out.
//!
//! | key | holds |
//! |---|---|
//! | `("session", session, "order", turn, step)` | the order as its session sees it, and what came of it |
//! | `("chain_order", chain, project, time, session, turn, step)` | an order that the chain has not taken yet, a project's oldest first |
//! | `("chain_waiter", chain, order, session, turn, step)` | a step that waits for the order's end |
//! | `("chain_owed", chain, session, turn, step)` | a step that is to be told that its order has ended |
//! | `("chain_tally", chain, project)`, `(…, agent)` | what was spent today, and how many orders are open |

mod error;
mod id;
mod place;
mod records;
mod settle;

pub use error::OrderError;
pub use id::{OrderId, OrderIdError};
pub use records::{Order, OrderOutcome, OrderRecord};

pub(crate) use place::{NewOrder, Waiter, await_order, forget_waiter, order_of, place, spent_today};
pub(super) use settle::{Ended, SettleError, owed, settle, take_out, told, waiting_orders};
