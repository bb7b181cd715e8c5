//! `steward budgets`: accounts, limits, statements, the audit.

use anyhow::bail;
use steward_api::proto::v1;
use steward_types::Micros;

use super::Session;
use super::projects::period;
use crate::args::Budgets;
use crate::output::{Output, Tone};

/// Runs one of `budgets`.
///
/// # Errors
/// What the node refused; for `audit`, that the books do not balance.
pub async fn run(command: Budgets, session: &Session) -> anyhow::Result<()> {
    let (output, mut budgets, project) = (session.output, session.client.budgets(), session.project.clone());
    match command {
        Budgets::Show => {
            let shown = budgets.get(v1::GetBudgetRequest { project }).await?.into_inner();
            if output.is_json() {
                return output.message("GetBudgetResponse", &shown);
            }
            balances(output, shown.balance.iter().chain(&shown.agents));
            Ok(())
        }
        Budgets::Limit { limit, agent, period: every } => {
            let request = v1::SetLimitRequest {
                project,
                agent: agent.unwrap_or_default(),
                limit_micros: Some(limit.get()),
                period: period(every).into(),
            };
            let balance = budgets.set_limit(request).await?.into_inner();
            if output.is_json() {
                return output.message("Balance", &balance);
            }
            balances(output, [&balance]);
            Ok(())
        }
        Budgets::Statement { agent, session: spender, most } => {
            let request = v1::StatementRequest {
                project,
                agent: agent.unwrap_or_default(),
                spender: spender.unwrap_or_default(),
                page_size: most,
                ..Default::default()
            };
            let statement = budgets.statement(request).await?.into_inner();
            if output.is_json() {
                return output.message("StatementResponse", &statement);
            }
            lines(output, &statement);
            Ok(())
        }
        Budgets::Audit => {
            let audit = budgets.audit(v1::AuditRequest { project }).await?.into_inner();
            if output.is_json() {
                output.message("AuditResponse", &audit)?;
            } else {
                output.facts(&[
                    ("settled by accounts", Micros::new(audit.settled_micros).to_string()),
                    ("steps settled", audit.steps_settled.to_string()),
                    ("on receipts", format!("{} in {}", Micros::new(audit.receipts_micros), audit.receipts)),
                    ("held now", Micros::new(audit.held_micros).to_string()),
                    ("in allowances", Micros::new(audit.outstanding_micros).to_string()),
                ]);
            }
            if !audit.exact {
                bail!("the books do not balance:\n  {}", audit.differences.join("\n  "));
            }
            if !output.is_json() {
                output.line(output.paint(Tone::Good, "the books balance"));
            }
            Ok(())
        }
    }
}

fn balances<'a>(output: Output, balances: impl IntoIterator<Item = &'a v1::Balance>) {
    let amount = |micros: Option<u64>| micros.map_or_else(|| "-".to_owned(), |micros| Micros::new(micros).to_string());
    let rows = balances.into_iter().map(|balance| {
        let spent = [Some(balance.settled_micros), Some(balance.outstanding_micros)].map(amount);
        let limit = [balance.scope.clone(), amount(balance.limit_micros)];
        limit.into_iter().chain(spent).chain([amount(balance.available_micros)]).collect()
    });
    output.table(&["account", "limit", "settled", "in allowances", "available"], rows.collect(), "no account yet");
}

/// Prints a statement's lines, one a step.
pub fn lines(output: Output, statement: &v1::StatementResponse) {
    let amount = |micros: u64| if micros == 0 { "-".to_owned() } else { Micros::new(micros).to_string() };
    let rows = statement.lines.iter().map(|line| {
        let state = match line.state() {
            v1::HoldState::Unspecified => "unknown",
            v1::HoldState::Open => "open",
            v1::HoldState::Settled => "settled",
            v1::HoldState::Released => "released",
        };
        let amounts = [line.held_micros, line.settled_micros, line.released_micros].map(amount);
        [line.step.clone(), line.function.clone(), state.to_owned()].into_iter().chain(amounts).collect()
    });
    output.table(
        &["step", "function", "state", "held", "settled", "released"],
        rows.collect(),
        "nothing was spent yet",
    );
}
