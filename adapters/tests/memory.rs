//! The chain in memory passes the suite that every driver must pass.

use steward_adapters::conformance;
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
