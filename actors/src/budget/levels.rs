//! The shared levels above an account, read and written together: all of them or none.

use steward_storage::{Isolation, Txn};
use steward_types::{AgentId, Micros, MoneyError, ProjectId, Timestamp};

use super::error::{LedgerError, LevelName};
use super::level::{Daily, Level};
use super::period::{Day, Period};
use super::records;

/// The project's level, and the agent's where the account has one.
#[derive(Debug)]
pub(super) struct Levels {
    project_key: Vec<u8>,
    project: Level,
    agent: Option<(Vec<u8>, Level)>,
}

impl Levels {
    /// Reads the levels, in today's period. An agent without a level of its own gets one without limit.
    pub(super) async fn load(
        txn: &Txn,
        project: &ProjectId,
        agent: Option<&AgentId>,
        read: Isolation,
        now: Timestamp,
    ) -> Result<Self, LedgerError> {
        let today = Day::of(now);
        let level = load_level(txn, &records::level(project), read).await?;
        let mut level = level.ok_or_else(|| LedgerError::NoBudget { project: project.clone() })?;
        level.roll(today);
        let mut agent_level = None;
        if let Some(agent) = agent {
            let key = records::agent_level(project, agent);
            let found = load_level(txn, &key, read).await?;
            let mut found = found.unwrap_or_else(|| Level::new(None, Period::None, today));
            found.roll(today);
            agent_level = Some((key, found));
        }
        Ok(Self { project_key: records::level(project), project: level, agent: agent_level })
    }

    pub(super) fn save(&self, txn: &Txn) -> Result<(), LedgerError> {
        txn.save(&self.project_key, &self.project)?;
        if let Some((key, level)) = &self.agent {
            txn.save(key, level)?;
        }
        Ok(())
    }

    /// The level that has the least available, and how much that is.
    pub(super) fn least(&self) -> (LevelName, Micros) {
        let project = (LevelName::Project, self.project.available());
        match &self.agent {
            Some((_, agent)) if agent.available() < project.1 => (LevelName::Agent, agent.available()),
            _ => project,
        }
    }

    /// What an account takes at a time.
    pub(super) const fn slice(&self) -> Micros {
        self.project.slice
    }

    pub(super) fn give(&mut self, amount: Micros) -> Result<(), MoneyError> {
        self.each(|level| level.give(amount))
    }

    pub(super) fn report(&mut self, settled: &Daily) -> Result<(), MoneyError> {
        self.each(|level| level.report(settled))
    }

    /// These levels with a report taken in.
    pub(super) fn reported(mut self, settled: &Daily) -> Result<Self, MoneyError> {
        self.report(settled)?;
        Ok(self)
    }

    pub(super) fn take_back(&mut self, amount: Micros) -> Result<(), MoneyError> {
        self.each(|level| level.take_back(amount))
    }

    fn each(&mut self, mut change: impl FnMut(&mut Level) -> Result<(), MoneyError>) -> Result<(), MoneyError> {
        change(&mut self.project)?;
        self.agent.as_mut().map_or(Ok(()), |(_, level)| change(level))
    }
}

async fn load_level(txn: &Txn, key: &[u8], read: Isolation) -> Result<Option<Level>, LedgerError> {
    Ok(match read {
        Isolation::Serializable => txn.load(key).await?,
        Isolation::Snapshot => txn.load_snapshot(key).await?,
    })
}
