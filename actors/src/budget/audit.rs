//! The audit: recomputes every balance from the steps, and every step from its receipt, and reports what differs.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use steward_storage::{RangeRead, Record, Store, StoreError, Subspace, Txn, record};
use steward_types::limits::AUDIT_DIFFERENCES_MAX;
use steward_types::{AgentId, HoldId, Micros, MoneyError, ProjectId};

use super::account::Account;
use super::account_id::Owner;
use super::error::LedgerError;
use super::level::Level;
use super::records::{self, Hold, HoldState};
use crate::receipt_log;

/// Whether receipts are compared too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuditReceipts {
    /// Each settled step must have exactly one receipt with its price, and each receipt its step.
    Compare,
    /// The ledger alone.
    Ignore,
}

/// What an audit found.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Audit {
    /// Steps that were settled.
    pub steps_settled: u64,
    /// Steps that run.
    pub steps_open: u64,
    /// What the settled steps cost.
    pub settled: Micros,
    /// What open steps hold.
    pub held: Micros,
    /// What the project's level counts as given out: held, free, or settled and not reported.
    pub outstanding: Micros,
    /// Receipts, in the log or on their way into it.
    pub receipts: u64,
    /// What the receipts say was paid.
    pub receipts_sum: Micros,
    /// What does not add up, at most [`AUDIT_DIFFERENCES_MAX`]; empty when all is exact.
    pub differences: Vec<String>,
    /// How many views of the store it took. One view is exact while money is being spent; with more, it is exact
    /// only when nothing was spent meanwhile.
    pub views: u32,
}

impl Audit {
    /// Whether everything adds up to the last micro-unit.
    pub const fn is_exact(&self) -> bool {
        self.differences.is_empty()
    }

    fn differ(&mut self, what: impl FnOnce() -> String) {
        if self.differences.len() < AUDIT_DIFFERENCES_MAX {
            self.differences.push(what());
        }
    }

    fn compare(&mut self, what: &str, found: Micros, expected: Micros) {
        if found != expected {
            self.differ(|| format!("{what} is {found} and should be {expected}"));
        }
    }
}

/// Audits a project. Reads everything of its ledger; changes nothing.
///
/// # Errors
/// [`LedgerError::NoBudget`] for an unknown project. A difference is no error.
pub async fn audit(store: &dyn Store, project: &ProjectId, receipts: AuditReceipts) -> Result<Audit, LedgerError> {
    let mut view = View { store, txn: store.begin(), views: 1 };
    let mut audit = Audit::default();
    let level = view.rows::<Level>(&Subspace::from_bytes(records::level(project))).await?;
    let Some((_, level)) = level.into_iter().next() else {
        return Err(LedgerError::NoBudget { project: project.clone() });
    };
    let mut settled = BTreeMap::new();
    let owners = sum_holds(&mut view, project, &mut audit, &mut settled).await?;
    let agents = compare_accounts(&mut view, project, &mut audit, owners).await?;
    compare_level(&mut audit, "the project", &level, agents.values().try_fold(Sums::default(), Sums::add)?);
    compare_agents(&mut view, project, &mut audit, agents).await?;
    audit.outstanding = level.outstanding;
    if receipts == AuditReceipts::Compare {
        compare_receipts(&mut view, project, &mut audit, settled).await?;
    }
    audit.views = view.views;
    Ok(audit)
}

/// Sums of steps: of an owner, an agent or the project.
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    settled: Micros,
    held: Micros,
    free: Micros,
    unreported: Micros,
}

impl Sums {
    fn add(self, other: &Self) -> Result<Self, MoneyError> {
        Ok(Self {
            settled: self.settled.add(other.settled)?,
            held: self.held.add(other.held)?,
            free: self.free.add(other.free)?,
            unreported: self.unreported.add(other.unreported)?,
        })
    }
}

/// Reads long ranges in one transaction as long as it lives, and goes on in another when it grew too old.
struct View<'a> {
    store: &'a dyn Store,
    txn: Txn,
    views: u32,
}

impl View<'_> {
    async fn rows<R: Record>(&mut self, subspace: &Subspace) -> Result<Vec<(Bytes, R)>, StoreError> {
        let rows = self.values(subspace).await?;
        rows.into_iter().map(|(key, value)| Ok((key.clone(), record::decode(&key, &value)?))).collect()
    }

    async fn values(&mut self, subspace: &Subspace) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        let mut rows = Vec::new();
        let mut rest = Some(RangeRead::prefix(subspace.bytes()).snapshot());
        while let Some(range) = rest {
            match self.txn.range(range.clone()).await {
                Ok(page) => {
                    rest = range.after(&page);
                    rows.extend(page.rows);
                }
                Err(StoreError::TooOld { .. }) => {
                    self.txn = self.store.begin();
                    self.views += 1;
                    rest = Some(range);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(rows)
    }
}

async fn sum_holds(
    view: &mut View<'_>,
    project: &ProjectId,
    audit: &mut Audit,
    settled: &mut BTreeMap<HoldId, Micros>,
) -> Result<BTreeMap<Owner, Sums>, LedgerError> {
    let mut owners: BTreeMap<Owner, Sums> = BTreeMap::new();
    for (key, hold) in view.rows::<Hold>(&records::holds(project)).await? {
        let (owner, id) = records::unpack_hold(project, &key)?;
        let sums = owners.entry(owner).or_default();
        match hold.state {
            HoldState::Open => {
                audit.steps_open += 1;
                audit.held = audit.held.add(hold.held)?;
                sums.held = sums.held.add(hold.held)?;
            }
            HoldState::Settled => {
                audit.steps_settled += 1;
                audit.settled = audit.settled.add(hold.settled)?;
                sums.settled = sums.settled.add(hold.settled)?;
                if settled.insert(id, hold.settled).is_some() {
                    audit.differ(|| format!("the hold {id} was settled twice"));
                }
            }
            HoldState::Released => {}
        }
        if hold.settled > hold.held {
            audit.differ(|| format!("the hold {id} paid {} of {} held", hold.settled, hold.held));
        }
    }
    Ok(owners)
}

/// Compares accounts with their steps and sums them up by agent.
async fn compare_accounts(
    view: &mut View<'_>,
    project: &ProjectId,
    audit: &mut Audit,
    mut owners: BTreeMap<Owner, Sums>,
) -> Result<BTreeMap<Option<AgentId>, Sums>, LedgerError> {
    let mut agents: BTreeMap<Option<AgentId>, Sums> = BTreeMap::new();
    for (key, account) in view.rows::<Account>(&records::accounts(project)).await? {
        let owner = records::unpack_account(project, &key)?;
        let steps = owners.remove(&owner).unwrap_or_default();
        audit.compare(&format!("{owner}: settled"), account.settled, steps.settled);
        audit.compare(&format!("{owner}: held"), account.held, steps.held);
        let used = account.settled.add(account.held)?;
        if account.limit.is_some_and(|limit| used > limit) {
            audit.differ(|| format!("{owner}: {used} is over its limit"));
        }
        let unreported = Micros::sum(account.unreported.values().copied())?;
        let sums = Sums { free: account.free, unreported, ..steps };
        let agent = agents.entry(account.agent).or_default();
        *agent = agent.add(&sums)?;
    }
    for owner in owners.into_keys() {
        audit.differ(|| format!("{owner} has steps and no account"));
    }
    Ok(agents)
}

fn compare_level(audit: &mut Audit, what: &str, level: &Level, sums: Sums) {
    let out = [sums.held, sums.free, sums.unreported];
    let outstanding = Micros::sum(out).unwrap_or(Micros::MAX);
    let reported = sums.settled.sub(sums.unreported).unwrap_or(Micros::MAX);
    audit.compare(&format!("{what}: outstanding"), level.outstanding, outstanding);
    audit.compare(&format!("{what}: settled ever"), level.settled_ever, reported);
    if level.settled > level.settled_ever {
        audit.differ(|| format!("{what}: settled {} of {} ever", level.settled, level.settled_ever));
    }
}

async fn compare_agents(
    view: &mut View<'_>,
    project: &ProjectId,
    audit: &mut Audit,
    mut agents: BTreeMap<Option<AgentId>, Sums>,
) -> Result<(), LedgerError> {
    for (key, level) in view.rows::<Level>(&records::agents(project)).await? {
        let agent = records::unpack_agent(project, &key)?;
        let what = format!("the agent {agent}");
        let sums = agents.remove(&Some(agent)).unwrap_or_default();
        compare_level(audit, &what, &level, sums);
    }
    for (agent, sums) in agents {
        let Some(agent) = agent else { continue };
        let spent = sums.settled.add(sums.held)?.add(sums.free)?;
        audit.compare(&format!("the agent {agent}, which has no level: spent"), spent, Micros::ZERO);
    }
    Ok(())
}

async fn compare_receipts(
    view: &mut View<'_>,
    project: &ProjectId,
    audit: &mut Audit,
    mut settled: BTreeMap<HoldId, Micros>,
) -> Result<(), LedgerError> {
    for (key, bytes) in view.values(&receipt_log::leaves(project)).await? {
        let leaf = receipt_log::decode_leaf(&key, &bytes)?;
        audit.receipts += 1;
        audit.receipts_sum = audit.receipts_sum.add(leaf.price)?;
        match settled.remove(&leaf.hold) {
            Some(price) => audit.compare(&format!("the receipt of {}", leaf.hold), leaf.price, price),
            None => audit.differ(|| format!("the receipt of {} has no settled step", leaf.hold)),
        }
    }
    for (hold, price) in settled {
        audit.differ(|| format!("the step of {hold} paid {price} and has no receipt"));
    }
    Ok(())
}
