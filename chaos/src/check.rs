//! What must hold after a run. Each finding is a broken promise, in words.

use std::collections::BTreeSet;

use steward_api::proto::v1;

use crate::workload::History;
use crate::world::Seen;

/// What the node's account sends beside anchors: the contract, once.
pub const DEPLOYMENTS: u64 = 1;

/// What the node says of itself at the end, and the chain of it.
#[derive(Debug, Clone)]
pub struct Books {
    /// The audit of the project.
    pub audit: v1::AuditResponse,
    /// Every receipt of the project.
    pub receipts: Vec<v1::Receipt>,
    /// Tree sizes in the order in which the chain's contract announced them.
    pub anchored: Vec<u64>,
    /// How many transactions of the node's account the chain has.
    pub sent: u64,
    /// How many leaves the log has.
    pub tree_size: u64,
}

/// Holds the sessions' histories, the outside world and the books against each other.
pub fn check(histories: &[History], seen: &Seen, books: &Books) -> Vec<String> {
    let mut findings = Vec::new();
    sessions(histories, &mut findings);
    effects(histories, seen, &mut findings);
    money(histories, books, &mut findings);
    anchors(books, &mut findings);
    findings
}

fn sessions(histories: &[History], findings: &mut Vec<String>) {
    for (history, turn) in histories.iter().flat_map(|history| history.turns.iter().map(move |turn| (history, turn))) {
        let replies: Vec<_> = turn.replies.iter().map(|reply| reply["number"].as_u64()).collect();
        if replies != [Some(turn.number)] {
            findings
                .push(format!("{}: message {} was replied to with {:?}", history.session, turn.number, turn.replies));
        }
    }
}

fn effects(histories: &[History], seen: &Seen, findings: &mut Vec<String>) {
    for turn in histories.iter().flat_map(|history| &history.turns) {
        let keys = seen.paid.get(&turn.number).map_or(0, BTreeSet::len);
        if keys != 1 {
            findings.push(format!("the idempotent effect of message {} came under {keys} keys", turn.number));
        }
        let once = seen.once.get(&turn.number).copied().unwrap_or(0);
        let told = turn.replies.first().map(|reply| reply["plain"].clone()).unwrap_or_default();
        let right = match told.as_str() {
            Some("200") => once == 1,
            Some("unknown") => once <= 1,
            Some("skipped") => once == 0,
            _ => false,
        };
        if !right {
            findings.push(format!("the effect of message {} was done {once} times and told as {told}", turn.number));
        }
    }
}

fn money(histories: &[History], books: &Books, findings: &mut Vec<String>) {
    let audit = &books.audit;
    findings.extend(audit.differences.iter().map(|difference| format!("audit: {difference}")));
    if !audit.exact {
        findings.push("the audit is not exact".to_owned());
    }
    if audit.held_micros != 0 || audit.steps_open != 0 {
        findings.push(format!("{} micro-units in {} steps are still held", audit.held_micros, audit.steps_open));
    }
    let on_receipts: u64 = books.receipts.iter().map(|receipt| receipt.price_micros).sum();
    let told: u64 = histories.iter().flat_map(|history| &history.turns).map(|turn| turn.micros).sum();
    for (what, micros) in [("receipts", on_receipts), ("sessions", told)] {
        if micros != audit.settled_micros {
            findings.push(format!("{what} say {micros} micro-units, the books {}", audit.settled_micros));
        }
    }
    let ids: BTreeSet<&str> = books.receipts.iter().map(|receipt| receipt.id.as_str()).collect();
    if ids.len() != books.receipts.len() || ids.len() as u64 != audit.steps_settled {
        let (receipts, steps) = (books.receipts.len(), audit.steps_settled);
        findings.push(format!("{receipts} receipts ({} different) for {steps} settled steps", ids.len()));
    }
}

fn anchors(books: &Books, findings: &mut Vec<String>) {
    if !books.anchored.is_sorted_by(|a, b| a < b) {
        findings.push(format!("a tree size was anchored twice, or shrank: {:?}", books.anchored));
    }
    // The contract announces nothing when its head is anchored again: only the count tells of that.
    let (announced, sent) = (books.anchored.len() as u64, books.sent);
    if sent != announced + DEPLOYMENTS {
        findings.push(format!("{sent} transactions were sent for {announced} anchors and {DEPLOYMENTS} contract"));
    }
    if books.anchored.last() != Some(&books.tree_size) {
        findings.push(format!("the log has {} leaves, the chain knows {:?}", books.tree_size, books.anchored.last()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::Turn;

    fn good() -> (Vec<History>, Seen, Books) {
        let reply = serde_json::json!({ "number": 2, "plain": "200" });
        let turns = vec![Turn { number: 2, replies: vec![reply], micros: 7 }];
        let mut seen = Seen::default();
        seen.paid.entry(2).or_default().insert("key".into());
        seen.once.insert(2, 1);
        let audit = v1::AuditResponse { exact: true, settled_micros: 7, steps_settled: 1, ..Default::default() };
        let receipts = vec![v1::Receipt { id: "hold".into(), price_micros: 7, ..Default::default() }];
        let books = Books { audit, receipts, anchored: vec![1], sent: 2, tree_size: 1 };
        (vec![History { session: "s".into(), turns }], seen, books)
    }

    #[test]
    fn a_run_that_kept_the_promise_has_no_findings() {
        let (histories, seen, books) = good();
        assert_eq!(check(&histories, &seen, &books), Vec::<String>::new());
    }

    #[test]
    fn every_broken_promise_is_found() {
        let broken = |breaks: fn(&mut Vec<History>, &mut Seen, &mut Books)| {
            let (mut histories, mut seen, mut books) = good();
            breaks(&mut histories, &mut seen, &mut books);
            check(&histories, &seen, &books).len()
        };
        assert_eq!(broken(|h, _, _| h[0].turns[0].replies.push(serde_json::json!({ "number": 2 }))), 1);
        assert_eq!(broken(|_, s, _| _ = s.paid.entry(2).or_default().insert("other".into())), 1);
        assert_eq!(broken(|_, s, _| _ = s.once.insert(2, 2)), 1);
        assert_eq!(broken(|h, _, _| h[0].turns[0].micros = 8), 1);
        assert_eq!(broken(|_, _, b| b.audit.held_micros = 1), 1);
        assert_eq!(broken(|_, _, b| b.audit.exact = false), 1);
        assert_eq!(broken(|_, _, b| b.receipts[0].price_micros = 6), 1);
        assert_eq!(broken(|_, _, b| b.receipts.push(b.receipts[0].clone())), 2);
        assert_eq!(broken(|_, _, b| (b.anchored, b.sent) = (vec![1, 1], 3)), 1);
        assert_eq!(broken(|_, _, b| (b.anchored, b.sent) = (vec![], 1)), 1);
        assert_eq!(broken(|_, _, b| b.sent = 3), 1);
    }
}
