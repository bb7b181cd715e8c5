//! Budgets, statements and audits.

use steward_actors::budget::{Audit, Balance, Entry, HoldState, Statement};
use steward_types::Micros;

use super::projects::period;
use super::time;
use crate::proto::v1;

pub(crate) fn balance(scope: String, balance: &Balance) -> v1::Balance {
    v1::Balance {
        scope,
        limit_micros: balance.limit.map(Micros::get),
        period: period(balance.period).into(),
        settled_micros: balance.settled.get(),
        settled_ever_micros: balance.settled_ever.get(),
        outstanding_micros: balance.outstanding.get(),
        available_micros: balance.available.map(Micros::get),
    }
}

pub(crate) fn statement(scope: String, statement: Statement) -> v1::StatementResponse {
    v1::StatementResponse {
        balance: statement.balance.map(|found| balance(scope, &found)),
        lines: statement.entries.into_iter().map(line).collect(),
        next_page_token: statement.next.unwrap_or_default(),
        steps: statement.totals.steps,
        open_micros: statement.totals.open.get(),
        settled_micros: statement.totals.settled.get(),
        released_micros: statement.totals.released.get(),
    }
}

fn line(entry: Entry) -> v1::StatementLine {
    let state = match entry.hold.state {
        HoldState::Open => v1::HoldState::Open,
        HoldState::Settled => v1::HoldState::Settled,
        HoldState::Released => v1::HoldState::Released,
    };
    v1::StatementLine {
        spender: entry.owner.to_string(),
        hold_id: entry.id.to_string(),
        released_micros: entry.released().get(),
        step: entry.hold.step,
        function: entry.hold.function,
        state: state.into(),
        held_micros: entry.hold.held.get(),
        settled_micros: entry.hold.settled.get(),
        opened_at: time(entry.hold.opened_at),
        finished_at: entry.hold.finished_at.and_then(time),
    }
}

pub(crate) fn audit(audit: Audit) -> v1::AuditResponse {
    v1::AuditResponse {
        exact: audit.is_exact(),
        steps_settled: audit.steps_settled,
        steps_open: audit.steps_open,
        settled_micros: audit.settled.get(),
        held_micros: audit.held.get(),
        outstanding_micros: audit.outstanding.get(),
        receipts: audit.receipts,
        receipts_micros: audit.receipts_sum.get(),
        differences: audit.differences,
    }
}
