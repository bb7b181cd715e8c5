//! What the facts mean: one function a check.

use std::collections::BTreeMap;
use std::time::Duration;

use steward_storage::StoreCondition;
use steward_types::NodeId;
use steward_types::limits::{
    DOCTOR_CERTIFICATE_TIME_MIN, DOCTOR_CLIENT_BUSY_PERMILLE_MAX, DOCTOR_CLOCK_DIFFERENCE_MAX, DOCTOR_STORE_TIME_MAX,
    DOCTOR_WAIT_TIME_MAX,
};

use super::chains::{chain_moves, key_is_reached};
use super::triggers::trigger_follows;
use super::{Diagnosis, Facts, Finding, Severity};
use crate::service::MemberState;

pub(super) type Found = Vec<Finding>;
type Check = (&'static str, fn(&Facts) -> Found);

/// The checks in the order in which they are told.
const CHECKS: &[Check] = &[
    ("store", Facts::store_answers),
    ("store", Facts::the_stores_client_is_well),
    ("members", Facts::members_are_there),
    ("shards", Facts::shards_are_served),
    ("clocks", Facts::clocks_agree),
    ("certificates", Facts::certificates_last),
    ("quarantine", Facts::nothing_is_set_aside),
    ("dead letters", Facts::every_message_was_handled),
    ("devices", Facts::devices_work),
    ("models", Facts::models_are_loaded),
    ("chains", Facts::chains_move),
    ("signers", Facts::keys_can_be_reached),
    ("triggers", Facts::triggers_follow),
    ("receipts", Facts::receipts_are_logged),
    ("pauses", Facts::nothing_is_paused),
];

impl Facts {
    pub(super) fn judge(&self) -> Diagnosis {
        let mut checks: Vec<_> = CHECKS.iter().map(|(name, _)| *name).collect();
        checks.dedup();
        let mut findings: Vec<_> =
            CHECKS.iter().flat_map(|(name, check)| check(self).into_iter().map(|found| found.of(name))).collect();
        if self.audits.is_some() {
            checks.push("budgets");
            findings.extend(self.budgets_are_exact().into_iter().map(|found| found.of("budgets")));
        }
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        Diagnosis { checks, findings }
    }

    fn the_stores_client_is_well(&self) -> Found {
        let Some(condition) = &self.condition else { return Vec::new() };
        let StoreCondition { healthy, connections, connections_failed, busy_permille, .. } = condition;
        let mut found = Vec::new();
        if !healthy || *connections_failed > 0 {
            found.push(Finding::warning(
                "store",
                format!(
                    "this node's client has {connections} connections, {connections_failed} failed, and says that it is {}",
                    if *healthy { "healthy" } else { "not healthy" }
                ),
                "`fdbcli --exec status` says which servers are away: docs/operations.md",
            ));
        }
        if *busy_permille > DOCTOR_CLIENT_BUSY_PERMILLE_MAX {
            found.push(Finding::warning(
                "store",
                format!("this node's client is busy {}.{} % of the time", busy_permille / 10, busy_permille % 10),
                "start more nodes: one thread a process carries all its traffic",
            ));
        }
        found
    }

    fn store_answers(&self) -> Found {
        match &self.store {
            Err(failure) => vec![Finding::critical(
                "store",
                format!("it cannot be read: {failure}"),
                "see that the store runs and that this node reaches it: docs/storage.md",
            )],
            Ok(time) if *time > DOCTOR_STORE_TIME_MAX => vec![Finding::warning(
                "store",
                format!("one read took {} ms", time.as_millis()),
                "look at the store's disk and load",
            )],
            Ok(_) => Vec::new(),
        }
    }

    fn members_are_there(&self) -> Found {
        let missing = self.reports.missing.iter().map(|missing| {
            Finding::critical(
                missing.node,
                format!("it does not answer: {}", missing.reason),
                format!("look at its log; if it hangs, stop it, or `steward nodes evict {}`", missing.node),
            )
        });
        let states = self.members.iter().filter_map(|member| match member.state {
            MemberState::Down => Some(Finding::warning(
                member.id,
                format!("it was taken for dead at {}", member.changed),
                "start it again, or leave it: what it owned is others'",
            )),
            MemberState::Draining => Some(Finding::notice(
                member.id,
                format!("it is draining since {}, and has {} shards left", member.changed, member.shards),
                format!("stop it once it has none, or `steward undrain {}`", member.id),
            )),
            MemberState::Joining | MemberState::Up | MemberState::Left => None,
        });
        missing.chain(states).collect()
    }

    fn shards_are_served(&self) -> Found {
        let missing = |node: &NodeId| self.reports.missing.iter().any(|missing| missing.node == *node);
        let ownerless: Vec<u32> =
            self.shards.iter().filter(|shard| shard.owner.is_none()).map(|shard| shard.shard).collect();
        let mut silent: BTreeMap<NodeId, usize> = BTreeMap::new();
        for owner in self.shards.iter().filter_map(|shard| shard.owner).filter(missing) {
            *silent.entry(owner).or_default() += 1;
        }
        let mut found = Found::new();
        if let Some(first) = ownerless.first() {
            found.push(Finding::critical(
                "shards",
                format!("{} have no owner, shard {first} the first", ownerless.len()),
                "they are claimed within seconds when a node is up; if not, look at the nodes' logs",
            ));
        }
        found.extend(silent.into_iter().map(|(node, count)| {
            Finding::critical(
                node,
                format!("it owns {count} shards and does not answer"),
                format!("others take over when its beat stops; to hurry, `steward nodes evict {node}`"),
            )
        }));
        found
    }

    fn clocks_agree(&self) -> Found {
        let (from, to) = self.asked;
        let off = self.reports.answers.iter().filter_map(|(node, report)| {
            let off = from.saturating_since(report.now).max(report.now.saturating_since(to));
            (off > DOCTOR_CLOCK_DIFFERENCE_MAX).then(|| {
                Finding::warning(
                    node,
                    format!("its clock differs by {} ms from the asked node's", off.as_millis()),
                    "run NTP on it: timers fire and budgets' periods begin by its clock",
                )
            })
        });
        off.collect()
    }

    fn certificates_last(&self) -> Found {
        let now = self.asked.1;
        let ending = self.reports.answers.iter().filter_map(|(node, report)| {
            let ends = report.certificate_ends?;
            let left = ends.saturating_since(now);
            let renew = "`steward cluster issue` a new one into its identity folder: it is read without a restart";
            match left {
                Duration::ZERO => Some(Finding::critical(node, format!("its certificate ended at {ends}"), renew)),
                left if left < DOCTOR_CERTIFICATE_TIME_MIN => {
                    Some(Finding::warning(node, format!("its certificate ends at {ends}"), renew))
                }
                _ => None,
            }
        });
        ending.collect()
    }

    fn nothing_is_set_aside(&self) -> Found {
        let all = self.quarantined.answers.iter().flat_map(|(_, quarantined)| quarantined);
        let one = |quarantine: &crate::host::Quarantine| {
            let (kind, id) = (&quarantine.kind, &quarantine.id);
            let what = format!("it is in quarantine since {}: {}", quarantine.since, quarantine.cause);
            let remedy = format!("mend the cause, then `steward quarantine release {kind} {id}`");
            Finding::critical(format!("{kind} {id}"), what, remedy)
        };
        all.map(one).collect()
    }

    fn every_message_was_handled(&self) -> Found {
        let some = self.reports.answers.iter().filter(|(_, report)| report.dead_letters > 0);
        let one = |(node, report): &(NodeId, _)| {
            let report: &super::NodeReport = report;
            let what = format!("it has {} dead letters since its start", report.dead_letters);
            Finding::notice(node, what, "see them with `steward actors dead-letters`")
        };
        some.map(one).collect()
    }

    fn devices_work(&self) -> Found {
        let failed = self.reports.answers.iter().flat_map(|(node, report)| {
            report.devices.iter().filter_map(move |device| {
                let why = device.failure.as_ref()?;
                Some(Finding::critical(
                    format!("device {} of {node}", device.name),
                    format!("it failed: {why}; its models went to another device, where one has room"),
                    "look at the card (`nvidia-smi`, the kernel's log), then start the node again: docs/operations.md",
                ))
            })
        });
        failed.collect()
    }

    fn models_are_loaded(&self) -> Found {
        let failed = self.reports.answers.iter().flat_map(|(node, report)| {
            let failed = report.models.iter().filter(|model| model.state == "failed");
            failed.map(move |model| {
                Finding::critical(
                    format!("model {}", model.id),
                    format!("it could not be loaded on {node}: {}", model.cause),
                    format!("put its file back where it was, or `steward models remove {}` and add it again", model.id),
                )
            })
        });
        failed.collect()
    }

    fn chains_move(&self) -> Found {
        let mut found = Found::new();
        for (chain, status) in &self.chains {
            match status {
                Ok(status) => found.extend(chain_moves(chain, status, self.asked.1)),
                Err(failure) => found.push(Finding::warning(
                    chain,
                    format!("its entity does not answer: {failure}"),
                    format!("see `steward actors why chain {chain}`"),
                )),
            }
        }
        found
    }

    fn keys_can_be_reached(&self) -> Found {
        self.signers.iter().filter_map(|(chain, kind, reached)| key_is_reached(chain, *kind, reached)).collect()
    }

    fn triggers_follow(&self) -> Found {
        self.triggers.iter().flat_map(trigger_follows).collect()
    }

    fn receipts_are_logged(&self) -> Found {
        let late = self.receipts.iter().filter_map(|(project, waiting)| {
            let age = self.asked.1.saturating_since(waiting.oldest?);
            (age > DOCTOR_WAIT_TIME_MAX).then(|| {
                Finding::critical(
                    format!("project {project}"),
                    format!("{} receipts wait for the log, the oldest for {} s", waiting.count, age.as_secs()),
                    format!("see `steward actors why receipt-log {project}`"),
                )
            })
        });
        late.collect()
    }

    fn nothing_is_paused(&self) -> Found {
        let one = |pause: &crate::pause::Pause| {
            let why = if pause.reason.is_empty() { String::new() } else { format!(": {}", pause.reason) };
            let what = format!("paused since {}{why}", pause.since);
            Finding::notice(&pause.subject, what, format!("`steward resume {}`", words(&pause.subject)))
        };
        self.pauses.iter().map(one).collect()
    }

    fn budgets_are_exact(&self) -> Found {
        let differing = self.audits.iter().flatten().filter(|(_, audit)| !audit.is_exact());
        let one = |(project, audit): &(_, crate::budget::Audit)| {
            let what = format!("{} differences, the first: {}", audit.differences.len(), audit.differences[0]);
            Finding::critical(
                format!("project {project}"),
                what,
                "run the audit again when nothing is spent; if it stays, keep a backup and report it",
            )
        };
        differing.map(one).collect()
    }
}

/// A pause's subject as the command line takes it.
fn words(subject: &crate::pause::PauseSubject) -> String {
    use crate::pause::PauseSubject;
    match subject {
        PauseSubject::Project(project) => format!("project {project}"),
        PauseSubject::Agent(project, agent) => format!("agent {agent} --project {project}"),
        PauseSubject::Chain(chain) => format!("chain {chain}"),
    }
}

impl Finding {
    fn new(severity: Severity, about: impl ToString, what: impl ToString, remedy: impl ToString) -> Self {
        let (about, what, remedy) = (about.to_string(), what.to_string(), remedy.to_string());
        Self { severity, check: "", about, what, remedy }
    }

    pub(super) fn notice(about: impl ToString, what: impl ToString, remedy: impl ToString) -> Self {
        Self::new(Severity::Notice, about, what, remedy)
    }

    pub(super) fn warning(about: impl ToString, what: impl ToString, remedy: impl ToString) -> Self {
        Self::new(Severity::Warning, about, what, remedy)
    }

    pub(super) fn critical(about: impl ToString, what: impl ToString, remedy: impl ToString) -> Self {
        Self::new(Severity::Critical, about, what, remedy)
    }

    fn of(self, check: &'static str) -> Self {
        Self { check, ..self }
    }
}

#[cfg(test)]
mod tests;
