//! What operators are shown of a chain: its outbox and its account.

use super::*;

async fn outbox(node: &Node) -> OutboxView {
    let ChainResponse::Outbox(outbox) = node.ask(ChainRequest::Outbox).await else { panic!("no outbox") };
    *outbox
}

async fn wallet(node: &Node) -> WalletView {
    let ChainResponse::Wallet(wallet) = node.ask(ChainRequest::Wallet).await else { panic!("no wallet") };
    *wallet
}

#[tokio::test]
async fn an_outbox_shows_what_waits_and_a_wallet_what_the_chain_says() {
    let (store, chain) = parts(1);
    let node = Node::start(&store, &chain).await;
    let acme = project("acme");
    node.append(&acme, 0).await;
    assert_eq!(outbox(&node).await.intents, []);
    chain.set_fault(Some(Outage::Down));
    let answer = node.ask(ChainRequest::Anchor(acme.clone())).await;
    assert!(matches!(answer, ChainResponse::Refused(..)), "{answer:?}");
    let waiting = outbox(&node).await;
    assert_eq!((waiting.chain.as_str(), waiting.total), (CHAIN, 1));
    let intent = &waiting.intents[0];
    assert_eq!((intent.key.as_str(), intent.state, intent.tries), ("deploy", IntentState::Recorded, 0));
    assert_eq!((intent.sequence, intent.transaction.as_str()), (None, ""));
    let unknown = wallet(&node).await;
    assert!(unknown.balances.is_none() && unknown.sequences.is_none() && !unknown.failure.is_empty(), "{unknown:?}");

    chain.set_fault(None);
    node.until_anchored(&acme, 1).await;
    let after = outbox(&node).await;
    assert_eq!((after.total, after.stall.as_ref()), (0, None), "{after:?}");
    let known = wallet(&node).await;
    assert_eq!((known.sequences, known.failure.as_str()), (Some((2, 2)), ""));
    assert!(known.balances.is_some() && known.account == unknown.account, "{known:?}");
}

#[tokio::test]
async fn while_the_signer_is_away_the_outbox_stays_as_it_was_and_then_each_root_lands_once() {
    let (store, chain) = parts(1);
    let acme = project("acme");
    let before = {
        let node = Node::start(&store, &chain).await;
        node.append(&acme, 0).await;
        chain.set_fault(Some(Outage::SignerAway));
        node.host.tell::<ChainActor>(&EntityId::new(CHAIN).unwrap(), ChainRequest::Anchor(acme.clone())).unwrap();
        let clock = SystemClock::new();
        loop {
            let shown = outbox(&node).await;
            if shown.intents.iter().any(|intent| intent.last_error.contains("it is away")) {
                break shown;
            }
            clock.sleep(Duration::from_millis(2)).await;
        }
    };
    let [intent] = &before.intents[..] else { panic!("{before:?}") };
    assert_eq!((intent.state, intent.tries, intent.displaced), (IntentState::Recorded, 0, 0));
    assert!(landed(&chain).is_empty());

    // Neither is anything lost when the node dies meanwhile.
    let node = Node::start(&store, &chain).await;
    assert_eq!(outbox(&node).await.intents[0].key, intent.key);
    node.append(&acme, 1).await;
    chain.set_fault(None);
    let answer = node.ask(ChainRequest::Anchor(acme.clone())).await;
    assert!(matches!(answer, ChainResponse::Anchored(_)), "{answer:?}");
    assert_eq!(landed(&chain).len(), 2, "the contract and one root");
}
