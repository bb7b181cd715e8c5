//! Statements: what each step held, settled and released, with totals, for a session, an agent or a project.

use serde::{Deserialize, Serialize};
use steward_storage::{RangeRead, Store, Txn, key};
use steward_types::limits::{STATEMENT_ENTRIES_MAX, STATEMENT_ROWS_MAX};
use steward_types::{AgentId, HoldId, Micros, ProjectId, Timestamp};

use super::account::Account;
use super::account_id::Owner;
use super::error::LedgerError;
use super::level::Level;
use super::period::{Day, Period};
use super::records::{self, Hold, HoldState};

/// Whose steps a statement lists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// All of the project.
    Project,
    /// One agent's sessions.
    Agent(AgentId),
    /// One session, or one lane of an API key.
    Owner(Owner),
}

/// Which steps a statement lists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatementRequest {
    /// Whose.
    pub scope: Scope,
    /// Only steps opened at or after this time.
    pub from: Option<Timestamp>,
    /// Only steps opened before this time.
    pub until: Option<Timestamp>,
    /// Most entries of the answer, at most [`STATEMENT_ENTRIES_MAX`].
    pub entries_max: usize,
    /// Where an earlier answer ended: its `next`.
    pub after: Option<String>,
}

impl StatementRequest {
    /// The first page of all steps in `scope`.
    pub const fn all(scope: Scope) -> Self {
        Self { scope, from: None, until: None, entries_max: STATEMENT_ENTRIES_MAX, after: None }
    }
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Who spent.
    pub owner: Owner,
    /// The hold.
    pub id: HoldId,
    /// What was held and paid.
    pub hold: Hold,
}

impl Entry {
    /// What the step gave back: nothing while it runs.
    pub fn released(&self) -> Micros {
        match self.hold.state {
            HoldState::Open => Micros::ZERO,
            HoldState::Settled | HoldState::Released => {
                Micros::new(self.hold.held.get().saturating_sub(self.hold.settled.get()))
            }
        }
    }
}

/// Sums over entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Totals {
    /// How many steps.
    pub steps: u64,
    /// Held by those that still run.
    pub open: Micros,
    /// Paid.
    pub settled: Micros,
    /// Given back.
    pub released: Micros,
}

impl Totals {
    fn count(&mut self, entry: &Entry) -> Result<(), LedgerError> {
        self.steps += 1;
        if entry.hold.state == HoldState::Open {
            self.open = self.open.add(entry.hold.held)?;
        }
        self.settled = self.settled.add(entry.hold.settled)?;
        self.released = self.released.add(entry.released())?;
        Ok(())
    }
}

/// How a level, or an account, stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Balance {
    /// Its limit, if it has one.
    pub limit: Option<Micros>,
    /// When it starts again.
    pub period: Period,
    /// Settled in this period. A level hears of a session's settlements when the session takes more, ends or rests;
    /// until then they are part of `outstanding`.
    pub settled: Micros,
    /// Settled ever.
    pub settled_ever: Micros,
    /// A level: given to spenders and not reported back. An account: held by open steps.
    pub outstanding: Micros,
    /// What may still be taken; `None` for no limit.
    pub available: Option<Micros>,
}

/// A statement's page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statement {
    /// How the scope stands now; `None` for an agent or owner that never spent.
    pub balance: Option<Balance>,
    /// The steps, those of one owner in the order in which they were held.
    pub entries: Vec<Entry>,
    /// Sums over these entries.
    pub totals: Totals,
    /// Where to go on; `None` when this was the last page.
    pub next: Option<String>,
}

/// One page of a statement.
///
/// # Errors
/// [`LedgerError::NoBudget`] for an unknown project.
pub async fn statement(
    store: &dyn Store,
    project: &ProjectId,
    request: &StatementRequest,
    now: Timestamp,
) -> Result<Statement, LedgerError> {
    let entries_max = request.entries_max.clamp(1, STATEMENT_ENTRIES_MAX);
    let request = &StatementRequest { entries_max, ..request.clone() };
    let txn = store.begin();
    let project_level = txn.load_snapshot::<Level>(&records::level(project)).await?;
    let project_level = project_level.ok_or_else(|| LedgerError::NoBudget { project: project.clone() })?;
    let balance = match &request.scope {
        Scope::Project => Some(level_balance(project_level, now)),
        Scope::Agent(agent) => {
            let level = txn.load_snapshot::<Level>(&records::agent_level(project, agent)).await?;
            level.map(|level| level_balance(level, now))
        }
        Scope::Owner(owner) => {
            let account = txn.load_snapshot::<Account>(&records::account(project, owner)).await?;
            account.as_ref().map(account_balance)
        }
    };
    let (entries, next) = match &request.scope {
        Scope::Owner(owner) => owner_entries(&txn, project, owner, request).await?,
        Scope::Project | Scope::Agent(_) => project_entries(&txn, project, request).await?,
    };
    let mut totals = Totals::default();
    for entry in &entries {
        totals.count(entry)?;
    }
    Ok(Statement { balance, entries, totals, next })
}

fn level_balance(mut level: Level, now: Timestamp) -> Balance {
    level.roll(Day::of(now));
    Balance {
        limit: level.limit,
        period: level.period,
        settled: level.settled,
        settled_ever: level.settled_ever,
        outstanding: level.outstanding,
        available: level.limit.map(|_| level.available()),
    }
}

fn account_balance(account: &Account) -> Balance {
    Balance {
        limit: account.limit,
        period: Period::None,
        settled: account.settled,
        settled_ever: account.settled,
        outstanding: account.held,
        available: account.limit.map(|_| account.limit_left()),
    }
}

fn in_range(hold: &Hold, request: &StatementRequest) -> bool {
    request.from.is_none_or(|from| hold.opened_at >= from) && request.until.is_none_or(|until| hold.opened_at < until)
}

/// An owner's steps are few enough to be sorted in memory; `next` is the number of the last step.
async fn owner_entries(
    txn: &Txn,
    project: &ProjectId,
    owner: &Owner,
    request: &StatementRequest,
) -> Result<(Vec<Entry>, Option<String>), LedgerError> {
    let after = request.after.as_deref().and_then(|after| after.parse().ok()).unwrap_or(0_u64);
    let mut entries = Vec::new();
    let mut rest = Some(RangeRead::subspace(&records::holds_of(project, owner)).snapshot());
    while let Some(range) = rest {
        let page = txn.scan::<Hold>(range).await?;
        for (key, hold) in page.rows {
            if hold.number > after && in_range(&hold, request) {
                entries.push(entry(project, &key, hold)?);
            }
        }
        rest = page.rest;
    }
    entries.sort_by_key(|entry| entry.hold.number);
    let more = entries.len() > request.entries_max;
    entries.truncate(request.entries_max);
    let next = entries.last().filter(|_| more).map(|last| last.hold.number.to_string());
    Ok((entries, next))
}

/// A project's or an agent's steps in key order; `next` is the last key that was looked at, in hexadecimal.
async fn project_entries(
    txn: &Txn,
    project: &ProjectId,
    request: &StatementRequest,
) -> Result<(Vec<Entry>, Option<String>), LedgerError> {
    let mut range = RangeRead::subspace(&records::holds(project)).snapshot().limit(STATEMENT_ROWS_MAX);
    if let Some(after) = request.after.as_deref().and_then(|after| hex::decode(after).ok()) {
        range.begin = key::successor(&after).to_vec().max(range.begin);
    }
    let page = txn.scan::<Hold>(range).await?;
    let mut entries: Vec<Entry> = Vec::new();
    let mut next = page.rest.as_ref().and(page.rows.last()).map(|(key, _)| hex::encode(key));
    let mut owner_and_fit: Option<(Owner, bool)> = None;
    let rows = page.rows.len();
    for (position, (key, hold)) in page.rows.into_iter().enumerate() {
        let entry = entry(project, &key, hold)?;
        let fits = match &owner_and_fit {
            Some((owner, fits)) if *owner == entry.owner => *fits,
            _ => is_in_scope(txn, project, &entry.owner, &request.scope).await?,
        };
        owner_and_fit = Some((entry.owner.clone(), fits));
        if fits && in_range(&entry.hold, request) {
            entries.push(entry);
        }
        if entries.len() == request.entries_max && position + 1 < rows {
            next = Some(hex::encode(&key));
            break;
        }
    }
    entries.sort_by(|a, b| (&a.owner, a.hold.number).cmp(&(&b.owner, b.hold.number)));
    Ok((entries, next))
}

async fn is_in_scope(txn: &Txn, project: &ProjectId, owner: &Owner, scope: &Scope) -> Result<bool, LedgerError> {
    let Scope::Agent(agent) = scope else { return Ok(true) };
    let account = txn.load_snapshot::<Account>(&records::account(project, owner)).await?;
    Ok(account.is_some_and(|account| account.agent.as_ref() == Some(agent)))
}

fn entry(project: &ProjectId, key: &[u8], hold: Hold) -> Result<Entry, LedgerError> {
    let (owner, id) = records::unpack_hold(project, key)?;
    Ok(Entry { owner, id, hold })
}
