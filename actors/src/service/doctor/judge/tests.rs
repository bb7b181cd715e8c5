//! Each fault is found, and says what to do.

use steward_adapters::chain::EventFilter;
use steward_adapters::signer::SignerKind;
use steward_inference::DeviceBudget;
use steward_scripting::TriggerFrom;
use steward_types::{ErrorCode, Timestamp};

use super::*;
use crate::service::members::{Alone, Members};
use crate::service::query::{Gathered, MissingNode, ModelLine, NodeReport};
use crate::service::{Failure, Member, TriggerView};
use crate::trigger::{TriggerCondition, TriggerSpec, TriggerStatus};

const NOW: Timestamp = Timestamp::from_millis(1_000_000_000);

fn node(number: u8) -> NodeId {
    NodeId::from_bytes([number; 16])
}

fn member(number: u8, state: MemberState) -> Member {
    let alone = Alone::new(1, NOW).all().remove(0);
    Member { id: node(number), state, ..alone }
}

fn report() -> NodeReport {
    NodeReport {
        now: NOW,
        started: NOW,
        store: "memory".to_owned(),
        is_accepting: true,
        kinds: Vec::new(),
        dead_letters: 0,
        activity: Default::default(),
        devices: Vec::new(),
        models: Vec::new(),
        certificate_ends: None,
    }
}

fn trigger_view(status: Result<TriggerStatus, Failure>) -> TriggerView {
    let filter = EventFilter { address: "somebody".to_owned(), event: "Transfer".to_owned() };
    let spec = TriggerSpec { chain: "c".to_owned(), filter, from: TriggerFrom::Now, version: 1 };
    TriggerView { name: "acme/clerk/deposits".parse().unwrap(), spec, status, skipped: Vec::new() }
}

fn well() -> Facts {
    Facts {
        asked: (NOW, NOW),
        members: vec![member(1, MemberState::Up), member(2, MemberState::Up)],
        reports: Gathered { answers: vec![(node(1), report()), (node(2), report())], missing: Vec::new() },
        shards: Alone::new(4, NOW).shards(),
        quarantined: Gathered { answers: Vec::new(), missing: Vec::new() },
        chains: Vec::new(),
        signers: Vec::new(),
        triggers: Vec::new(),
        receipts: Vec::new(),
        audits: None,
        pauses: Vec::new(),
        store: Ok(Duration::from_millis(1)),
        condition: None,
    }
}

fn check(change: impl FnOnce(&mut Facts), severity: Severity, check: &str, what: &str) {
    let mut facts = well();
    change(&mut facts);
    let found = facts.judge().findings;
    let fits =
        |finding: &Finding| finding.severity == severity && finding.check == check && finding.what.contains(what);
    assert!(found.iter().any(fits), "{what}: {found:#?}");
    assert!(found.iter().all(|finding| !finding.remedy.is_empty()));
}

#[test]
fn a_cluster_that_is_well_has_no_finding() {
    assert_eq!(well().judge().findings, []);
}

#[test]
fn each_fault_is_found_and_has_a_remedy() {
    use Severity::{Critical, Notice, Warning};
    let silent = |facts: &mut Facts| {
        facts.reports.missing.push(MissingNode { node: node(3), reason: "silent".to_owned() });
        facts.shards[1].owner = Some(node(3));
    };
    check(silent, Critical, "members", "does not answer: silent");
    check(silent, Critical, "shards", "owns 1 shards");
    check(|facts| facts.shards[0].owner = None, Critical, "shards", "1 have no owner, shard 0");
    check(|facts| facts.members[0].state = MemberState::Down, Warning, "members", "taken for dead");
    check(|facts| facts.members[0].state = MemberState::Draining, Notice, "members", "is draining");
    let later = NOW.saturating_add(Duration::from_secs(3));
    check(|facts| facts.reports.answers[1].1.now = later, Warning, "clocks", "3000 ms");
    check(|facts| facts.reports.answers[0].1.certificate_ends = Some(later), Warning, "certificates", "ends at");
    check(|facts| facts.reports.answers[0].1.certificate_ends = Some(NOW), Critical, "certificates", "ended at");
    check(|facts| facts.reports.answers[0].1.dead_letters = 2, Notice, "dead letters", "2 dead letters");
    let failed =
        ModelLine { id: "m".to_owned(), from: String::new(), state: "failed".to_owned(), cause: "no file".to_owned() };
    check(|facts| facts.reports.answers[0].1.models.push(failed), Critical, "models", "no file");
    let mut device = DeviceBudget::new("cuda:0", 1).snapshot();
    device.failure = Some("it fell off the bus".to_owned());
    check(|facts| facts.reports.answers[0].1.devices.push(device), Critical, "devices", "failed: it fell off the bus");
    let away = Err(Failure::new(ErrorCode::ChainUnavailable, "it is away"));
    let signer = |kind, reached| move |facts: &mut Facts| facts.signers.push(("c".to_owned(), Some(kind), reached));
    check(signer(SignerKind::Kms, away), Critical, "signers", "kms, and cannot be reached: it is away");
    check(signer(SignerKind::Environment, Ok(())), Notice, "signers", "environment");
    let status = |condition| TriggerStatus {
        condition,
        reason: "the chain was reset".to_owned(),
        last_error: String::new(),
        checkpoint: None,
        final_block: None,
        started: 0,
        skipped: 0,
        open: 0,
    };
    let trigger = |status| move |facts: &mut Facts| facts.triggers.push(trigger_view(status));
    check(trigger(Ok(status(TriggerCondition::Stopped))), Critical, "triggers", "stopped: the chain was reset");
    let quarantined = Failure::new(ErrorCode::EntityQuarantined, "it is in quarantine");
    check(trigger(Err(quarantined)), Warning, "triggers", "it is in quarantine");
    let gone = Failure::new(ErrorCode::StoreUnavailable, "gone");
    check(|facts| facts.store = Err(gone), Critical, "store", "gone");
    let client = |healthy, connections_failed, busy_permille| {
        let version = "7.3.79".to_owned();
        Some(StoreCondition { healthy, connections: 4, connections_failed, busy_permille, version })
    };
    check(|facts| facts.condition = client(false, 0, 0), Warning, "store", "not healthy");
    check(|facts| facts.condition = client(true, 2, 0), Warning, "store", "2 failed");
    check(|facts| facts.condition = client(true, 0, 951), Warning, "store", "95.1 %");
}

#[test]
fn the_worst_stands_first() {
    let mut facts = well();
    facts.members[0].state = MemberState::Draining;
    facts.shards[0].owner = None;
    let found = facts.judge().findings;
    assert_eq!(
        found.iter().map(|finding| finding.severity).collect::<Vec<_>>(),
        [Severity::Critical, Severity::Notice]
    );
}
