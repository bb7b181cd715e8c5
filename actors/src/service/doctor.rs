//! The doctor: looks at the whole cluster and says what is wrong and what to do about it. It changes nothing.
//!
//! Looking and judging are apart: [`Facts`] are gathered, and what they mean is plain functions over them.

use std::time::Duration;

use steward_adapters::signer::SignerKind;
use steward_storage::{Isolation, StoreCondition, key::pack};
use steward_types::limits::{DOCTOR_RECEIPTS_MAX, PAGE_ITEMS_MAX};
use steward_types::{ProjectId, Timestamp};

use super::members::{Member, ShardPlace};
use super::query::{Gathered, NodeReport};
use super::triggers::TriggerView;
use super::{Failure, Steward};
use crate::budget::Audit;
use crate::chain::ChainStatus;
use crate::host::Quarantine;
use crate::pause::Pause;
use crate::receipt_log::{self, WaitingReceipts};

mod chains;
mod judge;
mod triggers;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Good to know.
    Notice,
    /// It may become bad.
    Warning,
    /// Something does not work.
    Critical,
}

/// What is wrong, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// Which check found it.
    pub check: &'static str,
    /// What it is about: a node, a chain, an entity.
    pub about: String,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub remedy: String,
}

/// What the doctor found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnosis {
    /// The checks that were made.
    pub checks: Vec<&'static str>,
    /// What they found, the worst first; empty when all is well.
    pub findings: Vec<Finding>,
}

/// What the doctor looks at.
#[derive(Debug)]
struct Facts {
    /// Before and after the nodes were asked, by the asking node's clock.
    asked: (Timestamp, Timestamp),
    members: Vec<Member>,
    reports: Gathered<NodeReport>,
    shards: Vec<ShardPlace>,
    quarantined: Gathered<Vec<Quarantine>>,
    chains: Vec<(String, Result<ChainStatus, Failure>)>,
    /// Where the key of each chain's account lies, and whether the asked node reaches it.
    signers: Vec<(String, Option<SignerKind>, Result<(), Failure>)>,
    triggers: Vec<TriggerView>,
    receipts: Vec<(ProjectId, WaitingReceipts)>,
    /// Absent unless asked for: an audit reads everything that a project ever spent.
    audits: Option<Vec<(ProjectId, Audit)>>,
    pauses: Vec<Pause>,
    store: Result<Duration, Failure>,
    /// How the store's client on this node says that it is, where it says.
    condition: Option<StoreCondition>,
}

impl Steward {
    /// Looks at everything; at the books too when `audit` says so, which reads all that was ever spent.
    ///
    /// # Errors
    /// The store's, once it fails in the middle. A store that does not answer at all is a finding.
    pub async fn diagnose(&self, audit: bool) -> Result<Diagnosis, Failure> {
        let store = self.probe_store().await;
        let before = self.clock().now();
        let (members, reports) = self.nodes().await;
        let asked = (before, self.clock().now());
        let (quarantined, shards) = (self.quarantined().await, self.shards());
        let mut facts = Facts {
            asked,
            members,
            reports,
            shards,
            quarantined,
            chains: Vec::new(),
            signers: Vec::new(),
            triggers: Vec::new(),
            receipts: Vec::new(),
            audits: audit.then(Vec::new),
            pauses: Vec::new(),
            store,
            condition: self.store().condition(),
        };
        // Without a store nothing below can be read, and it is the first thing to mend.
        if facts.store.is_ok() {
            facts.chains = self.chain_statuses().await;
            facts.signers = self.chain_signers().await;
            facts.pauses = self.pauses().await?;
            self.look_at_projects(&mut facts).await?;
        }
        Ok(facts.judge())
    }

    /// How long one read of the store takes.
    pub(super) async fn probe_store(&self) -> Result<Duration, Failure> {
        let clock = self.clock();
        let began = clock.monotonic();
        self.store().begin().get(&pack(&("doctor",)), Isolation::Snapshot).await?;
        Ok(clock.monotonic().saturating_sub(began))
    }

    async fn look_at_projects(&self, facts: &mut Facts) -> Result<(), Failure> {
        let mut after = None;
        loop {
            let page = crate::project::read::project_names(self.store(), after.as_ref(), PAGE_ITEMS_MAX).await?;
            for project in &page {
                let waiting = receipt_log::waiting(self.store(), project, DOCTOR_RECEIPTS_MAX).await?;
                facts.receipts.push((project.clone(), waiting));
                self.look_at_triggers(project, facts).await?;
                if let Some(audits) = &mut facts.audits {
                    audits.push((project.clone(), self.audit(project).await?));
                }
            }
            match page.last() {
                Some(last) if page.len() >= PAGE_ITEMS_MAX => after = Some(last.clone()),
                _ => return Ok(()),
            }
        }
    }

    async fn look_at_triggers(&self, project: &ProjectId, facts: &mut Facts) -> Result<(), Failure> {
        loop {
            let after = facts.triggers.last().map(|view| view.name.clone()).filter(|name| name.project == *project);
            let page = self.triggers(project, after.as_ref(), PAGE_ITEMS_MAX).await?;
            let is_last = page.len() < PAGE_ITEMS_MAX;
            facts.triggers.extend(page);
            if is_last {
                return Ok(());
            }
        }
    }
}
