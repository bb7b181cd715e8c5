//! Contracts that operators ask for: each once, however often it is asked for and whatever is killed.

use super::*;

fn deploy(contract: &str, owner: &str) -> ChainRequest {
    let arguments = BTreeMap::from([("owner".to_owned(), owner.to_owned())]);
    ChainRequest::Deploy { contract: contract.to_owned(), arguments }
}

fn deployed(answer: ChainResponse) -> Deployment {
    let ChainResponse::Deployment(deployment) = answer else { panic!("{answer:?}") };
    *deployment
}

fn refused(answer: ChainResponse) -> (ErrorCode, String) {
    let ChainResponse::Refused(code, reason) = answer else { panic!("{answer:?}") };
    (code, reason)
}

#[tokio::test]
async fn a_contract_is_made_once_and_known_from_then_on() {
    let (store, chain) = parts(1);
    let node = Node::start(&store, &chain).await;
    let first = deployed(node.ask(deploy("escrow", "ada")).await);
    assert!(first.deployed.as_ref().is_some_and(|deployed| !deployed.address.is_empty()));
    assert_eq!(deployed(node.ask(deploy("escrow", "ada")).await), first);
    let other = deployed(node.ask(deploy("escrow", "bob")).await);
    assert_ne!(other.deployed, first.deployed);
    let node = Node::start(&store, &chain).await;
    assert_eq!(deployed(node.ask(deploy("escrow", "ada")).await), first);
    let ChainResponse::Deployments(all) = node.ask(ChainRequest::Deployments).await else { panic!("no list") };
    assert_eq!(all, [first, other]);
    assert_eq!(landed(&chain).len(), 2);
}

#[tokio::test]
async fn a_contract_that_is_on_its_way_is_not_sent_again_by_the_next_node() {
    let (store, chain) = parts(1);
    chain.set_fault(Some(Outage::Down));
    let node = Node::start(&store, &chain).await;
    let (code, reason) = refused(node.ask(deploy("escrow", "ada")).await);
    assert_eq!(code, ErrorCode::ChainUnavailable);
    assert!(reason.contains("once the chain goes on"), "{reason}");
    chain.set_fault(None);
    let node = Node::start(&store, &chain).await;
    deployed(node.ask(deploy("escrow", "ada")).await);
    assert_eq!(landed(&chain).len(), 1);
}

#[tokio::test]
async fn what_the_chain_refuses_ends_with_its_reason_and_may_be_asked_for_again() {
    let (store, chain) = parts(1);
    let memo = Arc::new(chain.beside().with_anchoring(Anchoring::Memo));
    let node = Node::start(&store, &memo).await;
    let (code, reason) = refused(node.ask(deploy("escrow", "ada")).await);
    assert_eq!(code, ErrorCode::ChainRejected);
    assert!(reason.contains("no contracts"), "{reason}");
    let ChainResponse::Deployments(all) = node.ask(ChainRequest::Deployments).await else { panic!("no list") };
    assert!(all.is_empty(), "{all:?}");
    assert_eq!(refused(node.ask(deploy("no name", "ada")).await).0, ErrorCode::InvalidRequest);
    assert_eq!(refused(node.ask(deploy("escrow", &"a".repeat(1_000))).await).0, ErrorCode::InvalidRequest);
}

#[tokio::test]
async fn nothing_is_deployed_while_the_chain_is_paused() {
    let (store, chain) = parts(1);
    pause(&store).await;
    let node = Node::start(&store, &chain).await;
    assert_eq!(refused(node.ask(deploy("escrow", "ada")).await).0, ErrorCode::Paused);
    resume(&store).await;
    node.ask(ChainRequest::Wake).await;
    deployed(node.ask(deploy("escrow", "ada")).await);
}
