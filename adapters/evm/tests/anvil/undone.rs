//! A reorganisation deeper than the confirmations: the running outbox notices, sends nothing else, and hands the same
//! bytes to the chain again.

use steward_adapters::outbox::Stall;

use super::*;

const CONFIRMATIONS: u64 = 2;
/// So many blocks stand on the payment's when it is undone.
const DEPTH: u64 = 4;

#[tokio::test]
async fn a_final_transaction_that_a_deep_reorganisation_undoes_is_reported_and_brought_back() {
    let anvil = anvil(Mining::Automatic).await;
    let chain = chain(anvil.url(), CONFIRMATIONS);
    for _ in 0..2 * DEPTH {
        mine(&chain).await;
    }
    let mut sender = Sender::new(&chain, POLICY);
    let payment = Action::Transfer { to: SOMEBODY.to_owned(), amount: 5_u64.into(), asset: None };
    sender.submit("payment", payment.clone());
    settle(&mut sender, &chain).await;
    let paid = sender.newest();
    sender.acknowledge("payment");
    let balance = async || chain.balance(SOMEBODY, None, Consistency::Latest).await.unwrap().units();
    assert_eq!((balance().await, sender.outbox.intents().len()), (5, 0), "it is final, and forgotten");

    rpc(&chain, "evm_setAutomine", json!([false])).await;
    rpc(&chain, "anvil_reorg", json!([DEPTH, []])).await;
    rpc(&chain, "anvil_dropAllTransactions", json!([])).await;
    assert_eq!(balance().await, 0, "the reorganisation undid the payment");
    assert_eq!(chain.status(&paid).await.unwrap(), TransactionStatus::Unknown);

    // Nothing is to be done, and it is noticed all the same, within what the policy says.
    sender.clock.advance(Duration::from_millis(POLICY.stuck_ms));
    sender.step().await;
    let stall = sender.outbox.head().stall.clone().expect("it is reported");
    assert!(matches!(&stall, Stall::Undone { transaction, .. } if *transaction == paid.hash), "{stall}");
    sender.submit("next payment", payment);
    sender.step().await;
    assert!(sender.intent("next payment").attempts.is_empty(), "nothing else is signed meanwhile");
    assert_eq!(chain.status(&paid).await.unwrap(), TransactionStatus::Pending, "the same bytes wait for a block");

    settle(&mut sender, &chain).await;
    assert_eq!(sender.outbox.head().stall, None);
    assert_eq!(balance().await, 10, "both are paid, each once");
}
