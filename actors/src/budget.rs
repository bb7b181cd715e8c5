//! Budgets: money is held before it is spent, at every level of a tree, exact to one micro-unit.
//!
//! A spender (a session, or a lane of an API key) has an **account**. It takes an *allowance* from its agent's and its
//! project's level in one transaction, from both or from none, and then holds and settles steps against its own row,
//! so that many spenders share a budget without meeting. What it settled is reported to the levels when it takes more
//! or returns the rest; until then it counts as `outstanding` there, so that no level is ever overspent.
//!
//! [`ledger`] has the functions that a step calls within its own transactions.

mod account;
mod account_id;
mod audit;
mod entity;
mod error;
mod lanes;
pub mod ledger;
mod level;
mod levels;
mod period;
mod price;
mod records;
mod statement;
mod sweep;

pub use account::Account;
pub use account_id::{AccountId, Owner, OwnerError, call_hold, step_hold};
pub use audit::{Audit, AuditReceipts, audit};
pub use entity::{Budget, BudgetEnvironment, BudgetEvent, BudgetRequest, BudgetResponse};
pub use error::{LedgerError, LevelName};
pub use lanes::{Lane, Lanes};
pub use ledger::{
    HoldRequest, Settled, affordable, close_account, grow_to, grow_up_to, open_project, open_session, prices, release,
    reserve, return_allowance, set_agent_limit, set_limit, set_prices, set_slice, settle,
};
pub use level::{Daily, Level};
pub use period::{Day, Period};
pub use price::{Price, PriceError, PriceList, Usage};
pub use records::{Hold, HoldState};
pub use statement::{Balance, Entry, Scope, Statement, StatementRequest, Totals, statement};
pub use sweep::{Sweep, Swept, sweep};
