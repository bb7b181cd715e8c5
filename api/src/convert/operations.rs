//! Operators' things on the wire.

use steward_actors::audit::{AuditEntry, AuditOutcome};
use steward_actors::host::Quarantine;
use steward_actors::pause::{Pause, PauseSubject};
use steward_actors::service::{
    Diagnosis, Failure, Gathered, Member, MissingNode, NodeReport, Severity, ShardPlace, StoreStats, Trace,
};
use steward_inference::DeviceKind;
use steward_types::{NodeId, Timestamp};

use super::{json, time};
use crate::call::parse;
use crate::proto::v1;

pub(crate) fn missing(missing: &MissingNode) -> v1::MissingNode {
    v1::MissingNode { node: missing.node.to_string(), reason: missing.reason.clone() }
}

pub(crate) fn nodes(members: &[Member], reports: &Gathered<NodeReport>, this: NodeId) -> v1::NodesResponse {
    let of = |member: &Member| {
        let report = reports.answers.iter().find(|(node, _)| *node == member.id);
        v1::Node { report: report.map(|(_, found)| self::report(found)), ..node(member, this) }
    };
    v1::NodesResponse {
        nodes: members.iter().map(of).collect(),
        missing: reports.missing.iter().map(missing).collect(),
    }
}

fn node(member: &Member, this: NodeId) -> v1::Node {
    v1::Node {
        id: member.id.to_string(),
        state: member.state.name().to_owned(),
        link_address: member.link_address.clone(),
        api_address: member.api_address.clone(),
        zone: member.zone.clone(),
        weight: member.weight,
        version: member.version.clone(),
        joined_at: time(member.joined),
        changed_at: time(member.changed),
        shards: member.shards,
        shards_planned: member.shards_planned,
        is_this: member.id == this,
        report: None,
    }
}

fn report(report: &NodeReport) -> v1::NodeReport {
    let kind = |count: &steward_actors::host::KindCount| v1::KindCount {
        kind: count.kind.to_string(),
        live: count.live,
        quarantined: count.quarantined,
        mailbox: count.mailbox_messages,
    };
    v1::NodeReport {
        now: time(report.now),
        started_at: time(report.started),
        store: report.store.clone(),
        accepting: report.is_accepting,
        kinds: report.kinds.iter().map(kind).collect(),
        dead_letters: report.dead_letters,
        turns_in_flight: report.activity.turns_in_flight,
        turns: report.activity.turns,
        commits: report.activity.commits,
        tokens: report.activity.tokens,
        devices: report.devices.iter().map(device).collect(),
        models: report.models.iter().map(model).collect(),
        certificate_ends_at: report.certificate_ends.and_then(time),
    }
}

fn device(device: &steward_inference::DeviceSnapshot) -> v1::NodeDevice {
    v1::NodeDevice {
        name: device.name.clone(),
        total_bytes: device.total_bytes,
        used_bytes: device.used_bytes,
        peak_bytes: device.peak_bytes,
        kind: match device.kind {
            DeviceKind::Gpu => "gpu".to_owned(),
            DeviceKind::Processor => "cpu".to_owned(),
        },
        state: if device.failure.is_some() { "failed" } else { "ready" }.to_owned(),
        failure: device.failure.clone().unwrap_or_default(),
    }
}

fn model(model: &steward_actors::service::ModelLine) -> v1::NodeModel {
    v1::NodeModel {
        name: model.id.clone(),
        source: model.from.clone(),
        state: model.state.clone(),
        cause: model.cause.clone(),
    }
}

pub(crate) fn shard(shard: &ShardPlace) -> v1::Shard {
    let text = |node: Option<NodeId>| node.map(|node| node.to_string()).unwrap_or_default();
    v1::Shard {
        shard: shard.shard,
        owner: text(shard.owner),
        epoch: shard.epoch,
        target: text(shard.target),
        pinned: text(shard.pinned),
    }
}

pub(crate) fn subject_from(subject: v1::PauseSubject) -> Result<PauseSubject, Failure> {
    let v1::PauseSubject { agent, project, chain } = subject;
    match (agent.as_str(), project.as_str(), chain.as_str()) {
        ("", "", chain) if !chain.is_empty() => Ok(PauseSubject::Chain(chain.to_owned())),
        ("", project, "") if !project.is_empty() => Ok(PauseSubject::Project(parse("subject.project", project)?)),
        (agent, project, "") if !agent.is_empty() => {
            Ok(PauseSubject::Agent(parse("subject.project", project)?, parse("subject.agent", agent)?))
        }
        _ => Err(Failure::field("subject", "name an agent and its project, a project, or a chain")),
    }
}

pub(crate) fn pause(pause: Pause) -> v1::Pause {
    let subject = match pause.subject {
        PauseSubject::Project(project) => v1::PauseSubject { project: project.into(), ..Default::default() },
        PauseSubject::Agent(project, agent) => {
            v1::PauseSubject { project: project.into(), agent: agent.into(), chain: String::new() }
        }
        PauseSubject::Chain(chain) => v1::PauseSubject { chain, ..Default::default() },
    };
    v1::Pause { subject: Some(subject), since: time(pause.since), by: pause.by, reason: pause.reason }
}

pub(crate) fn quarantine(found: Gathered<Vec<Quarantine>>) -> v1::QuarantineResponse {
    let one = |node: NodeId, quarantine: Quarantine| v1::QuarantinedActor {
        kind: quarantine.kind.into_owned(),
        id: quarantine.id.to_string(),
        node: node.to_string(),
        cause: quarantine.cause,
        since: time(quarantine.since),
        until: quarantine.until.and_then(time),
    };
    let missing = found.missing.iter().map(missing).collect();
    let all = found.answers.into_iter().flat_map(|(node, all)| all.into_iter().map(move |found| one(node, found)));
    v1::QuarantineResponse { actors: all.collect(), missing }
}

pub(crate) fn store_stats(stats: StoreStats) -> v1::StoreStatsResponse {
    let part = |part: steward_actors::service::StorePart| v1::StorePart {
        name: part.name,
        rows: part.rows,
        bytes: part.bytes,
        at_least: part.at_least,
    };
    v1::StoreStatsResponse {
        store: stats.store,
        read_ms: u64::try_from(stats.read_time.as_millis()).unwrap_or(u64::MAX),
        parts: stats.parts.into_iter().map(part).collect(),
        client: stats.condition.map(|client| v1::StoreClient {
            version: client.version,
            healthy: client.healthy,
            connections: client.connections,
            connections_failed: client.connections_failed,
            busy_permille: client.busy_permille,
        }),
    }
}

pub(crate) fn trace(trace: Trace) -> v1::TraceResponse {
    let line = |line: steward_actors::service::TraceLine| v1::TraceLine {
        at: time(line.at),
        source: line.source.to_owned(),
        turn: line.turn,
        step: line.step.map(|step| step.to_string()).unwrap_or_default(),
        what: line.what,
        detail: line.detail,
    };
    v1::TraceResponse {
        session: trace.session.map(|session| session.to_string()).unwrap_or_default(),
        project: trace.project.to_string(),
        lines: trace.lines.into_iter().map(line).collect(),
        truncated: trace.truncated,
    }
}

pub(crate) fn diagnosis(diagnosis: Diagnosis) -> v1::DoctorResponse {
    let finding = |finding: steward_actors::service::Finding| v1::Finding {
        severity: match finding.severity {
            Severity::Notice => "notice",
            Severity::Warning => "warning",
            Severity::Critical => "critical",
        }
        .to_owned(),
        check: finding.check.to_owned(),
        about: finding.about,
        what: finding.what,
        remedy: finding.remedy,
    };
    v1::DoctorResponse {
        checks: diagnosis.checks.into_iter().map(str::to_owned).collect(),
        findings: diagnosis.findings.into_iter().map(finding).collect(),
    }
}

/// Where a page of the trail ended, as its token says: milliseconds and the entry's id.
pub(crate) fn audit_place_from(token: &str) -> Result<Option<(Timestamp, [u8; 16])>, Failure> {
    if token.is_empty() {
        return Ok(None);
    }
    let wrong = || Failure::field("page_token", "it is from no answer of this method");
    let (at, id) = token.split_once('-').ok_or_else(wrong)?;
    let id: u128 = u128::from_str_radix(id, 16).map_err(|_| wrong())?;
    Ok(Some((Timestamp::from_millis(at.parse().map_err(|_| wrong())?), id.to_be_bytes())))
}

pub(crate) fn audit_trail(entries: &[AuditEntry], size: usize) -> v1::AuditTrailResponse {
    let last = entries.last().filter(|_| entries.len() >= size);
    let token = |entry: &AuditEntry| format!("{}-{:x}", entry.at.as_millis(), u128::from_be_bytes(entry.id));
    v1::AuditTrailResponse {
        entries: entries.iter().map(entry).collect(),
        next_page_token: last.map(token).unwrap_or_default(),
    }
}

fn entry(entry: &AuditEntry) -> v1::AuditTrailEntry {
    let (outcome, message) = match &entry.outcome {
        AuditOutcome::Begun => ("begun".to_owned(), String::new()),
        AuditOutcome::Done => ("done".to_owned(), String::new()),
        AuditOutcome::Failed { code, message } => (code.to_string(), message.clone()),
    };
    v1::AuditTrailEntry {
        at: time(entry.at),
        key: entry.key.clone(),
        node: entry.node.to_string(),
        operation: entry.operation.clone(),
        subject: entry.subject.clone(),
        arguments_json: json(&entry.arguments),
        outcome,
        message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_paused_is_an_agent_a_project_or_a_chain() {
        let read = |agent: &str, project: &str, chain: &str| {
            let subject = v1::PauseSubject { agent: agent.into(), project: project.into(), chain: chain.into() };
            subject_from(subject).map(|subject| subject.to_string()).ok()
        };
        assert_eq!(read("a", "p", "").as_deref(), Some("agent a of project p"));
        assert_eq!(read("", "p", "").as_deref(), Some("project p"));
        assert_eq!(read("", "", "eip155:1").as_deref(), Some("chain eip155:1"));
        for (agent, project, chain) in [("", "", ""), ("a", "", ""), ("a", "p", "c"), ("", "p", "c")] {
            assert_eq!(read(agent, project, chain), None, "{agent:?} {project:?} {chain:?}");
        }
    }

    #[test]
    fn a_page_of_the_trail_goes_on_where_the_last_ended() {
        let place = (Timestamp::from_millis(1_700_000_000_000), [0xab; 16]);
        let token = format!("{}-{:x}", place.0.as_millis(), u128::from_be_bytes(place.1));
        assert_eq!(audit_place_from(&token).unwrap(), Some(place));
        assert_eq!(audit_place_from("").unwrap(), None);
        assert!(audit_place_from("x-y").is_err() && audit_place_from("12").is_err());
    }
}
