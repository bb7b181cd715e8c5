//! The chain in memory passes the suite that every driver must pass.

use steward_adapters::chain::{Action, Amount, EventFilter};
use steward_adapters::conformance::{self, Emission};
use steward_adapters::ledger::Ledger;
use steward_adapters::memory::{Anchoring, MemoryChain, Mining};

#[tokio::test]
async fn the_chain_in_memory_conforms() {
    for confirmations in [1, 3] {
        for anchoring in [Anchoring::Contract, Anchoring::Memo] {
            let id = "test:memory".parse().expect("a CAIP-2 identifier");
            let chain = MemoryChain::new(id, Ledger::new(confirmations), Mining::Automatic).with_anchoring(anchoring);
            conformance::check(&chain, "somebody").await;
        }
    }
}

#[tokio::test]
async fn a_chain_in_memory_without_sequence_numbers_conforms() {
    let id = "test:memory".parse().expect("a CAIP-2 identifier");
    let chain = MemoryChain::new(id, Ledger::expiring(3, 5), Mining::Automatic).with_anchoring(Anchoring::Memo);
    conformance::check(&chain, "somebody").await;
}

#[tokio::test]
async fn events_of_a_chain_in_memory_conform() {
    for ledger in [Ledger::new(1), Ledger::new(3), Ledger::expiring(3, 5)] {
        let id = "test:memory".parse().expect("a CAIP-2 identifier");
        let chain = MemoryChain::new(id, ledger, Mining::Automatic);
        let filter = |address: &str, event: &str| EventFilter { address: address.to_owned(), event: event.to_owned() };
        let pay = |number| Action::Transfer { to: "somebody".to_owned(), amount: Amount::new(number), asset: None };
        let emission = Emission {
            action: &|number| pay(u128::from(number) + 1),
            filter: filter("somebody", "Transfer"),
            silent: filter("somebody-else", "Transfer"),
            wrong: filter("somebody", "Stolen"),
        };
        conformance::check_events(&chain, &emission).await;
    }
}
