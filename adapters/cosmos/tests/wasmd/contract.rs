//! A real CosmWasm contract: hackatom, which pays what it owns to its beneficiary when its verifier says so.

use steward_adapters::chain::{Action, Amount, Chain, ChainError, Consistency};
use steward_adapters::conformance::send;
use steward_adapters_cosmos::{Pace, Wasmd};

use crate::{SOMEBODY, chain, chain_of_second_account, fee, program, wasmd};

#[tokio::test]
async fn a_contract_is_called_with_coins_and_read() {
    let Some(wasmd) = wasmd(Pace::Quick).await else { return };
    let (verifier, stranger) = (chain(&wasmd), chain_of_second_account(&wasmd));
    let message = format!(r#"{{"verifier":"{}","beneficiary":"{SOMEBODY}"}}"#, verifier.account());
    let contract = wasmd.instantiate(&Wasmd::hackatom(&program()), &message, "1000ustake").await;
    let contract = contract.unwrap_or_else(|error| panic!("{error}"));

    let question = br#"{"verifier":{}}"#;
    for at in [Consistency::Latest, Consistency::Final] {
        let answer = verifier.read(&contract, question, at).await.unwrap();
        let answer: serde_json::Value = serde_json::from_slice(&answer).unwrap();
        assert_eq!(answer["verifier"], verifier.account(), "{at:?}");
    }
    let error = verifier.read(&contract, br#"{"nonsense":{}}"#, Consistency::Latest).await.unwrap_err();
    assert!(matches!(error, ChainError::Rejected { .. }), "{error}");
    assert_eq!(verifier.balance(&contract, None, Consistency::Final).await.unwrap(), Amount::new(1_000));

    let release = |value| Action::Call {
        contract: contract.clone(),
        input: br#"{"release":{}}"#.as_slice().into(),
        value: Amount::new(value),
    };
    // What cannot succeed is found out before it is signed.
    let sequence = stranger.sequence(Consistency::Latest).await.unwrap().unwrap();
    let error = stranger.sign(&release(0), sequence, fee(&stranger).await).await.unwrap_err();
    assert!(matches!(&error, ChainError::Rejected { reason } if reason.contains("Unauthorized")), "{error}");
    assert!(send(&verifier, "release", release(25)).await.succeeded);
    assert_eq!(verifier.balance(SOMEBODY, None, Consistency::Final).await.unwrap(), Amount::new(1_025));
    assert_eq!(verifier.balance(&contract, None, Consistency::Final).await.unwrap(), Amount::ZERO);
}
