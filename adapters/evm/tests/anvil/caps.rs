//! Caps end to end: what would cost more waits unsigned, with the reason, and goes as soon as it is allowed.

use alloy::consensus::{Transaction as _, TxEnvelope};
use alloy::eips::Decodable2718 as _;
use steward_adapters::outbox::{Effect, Intent};

use super::*;
use steward_adapters::fee::FeePolicy;

/// Above what the policy allows for a unit of gas: 300 gwei.
const BASE_FEE_ABOVE: &str = "0x45d964b800";
const BASE_FEE_BELOW: &str = "0x3b9aca00";

/// Steps until the intent could not be signed, and says why.
async fn until_refused(sender: &mut Sender<'_>, key: &str) -> String {
    let sign = sender.until(|effect| matches!(effect, Effect::Sign { .. })).await;
    sender.carry(sign).await;
    let Intent { attempts, last_error, .. } = sender.intent(key);
    assert!(attempts.is_empty(), "nothing is signed above a cap");
    last_error.clone().expect("it says why it waits")
}

#[tokio::test]
async fn a_price_above_the_cap_waits_and_goes_when_the_chain_is_cheaper() {
    let anvil = anvil(Mining::Automatic).await;
    let chain = chain(anvil.url(), 1);
    let contract = deploy(&chain).await;
    rpc(&chain, "anvil_setNextBlockBaseFeePerGas", json!([BASE_FEE_ABOVE])).await;
    let market = chain.market_fee().await.unwrap();
    assert!(market.base > FeePolicy::default().price_max, "the spike is there: {market:?}");
    let mut sender = Sender::new(&chain, POLICY);
    sender.submit("anchor", anchor(&contract, 1));
    for _ in 0..3 {
        let reason = until_refused(&mut sender, "anchor").await;
        assert!(reason.contains("200000000000 are allowed"), "{reason}");
    }
    assert_eq!(chain.sequence(Consistency::Latest).await.unwrap(), Some(1), "only the contract's was sent");
    rpc(&chain, "anvil_setNextBlockBaseFeePerGas", json!([BASE_FEE_BELOW])).await;
    settle(&mut sender, &chain).await;
    let signed = TxEnvelope::decode_2718(&mut &sender.newest().bytes[..]).unwrap();
    assert!(signed.max_fee_per_gas() <= u128::from(FeePolicy::default().price_max));
    assert_eq!(anchored(&chain, &contract).await, 1);
}

#[tokio::test]
async fn what_needs_more_gas_than_is_allowed_waits_until_the_cap_is_raised() {
    let anvil = anvil(Mining::Automatic).await;
    let with_gas = |gas_max| {
        let signer = Arc::new(LocalSigner::new(&Anvil::development_key()).unwrap());
        let (id, endpoint) = ("eip155:31337".parse().unwrap(), anvil.url().clone());
        EvmChain::new(EvmConfig { chain: id, endpoint, confirmations: 1, gas_max }, signer).unwrap()
    };
    let (tight, wide) = (with_gas(100_000), with_gas(3_000_000));
    let mut sender = Sender::new(&tight, POLICY);
    sender.submit("deploy", Action::DeployReceiptLog);
    let reason = until_refused(&mut sender, "deploy").await;
    assert!(reason.contains("gas") && reason.contains("100000"), "{reason}");
    assert_eq!(tight.sequence(Consistency::Latest).await.unwrap(), Some(0), "nothing was sent");
    // The operator raises gas_max and starts the node again.
    let mut raised = Sender::new(&wide, POLICY);
    raised.outbox = sender.outbox;
    raised.die();
    settle(&mut raised, &wide).await;
    assert!(raised.intent("deploy").outcome.clone().unwrap().succeeded);
    let signed = TxEnvelope::decode_2718(&mut &raised.newest().bytes[..]).unwrap();
    assert!((100_000..=3_000_000).contains(&signed.gas_limit()), "{}", signed.gas_limit());
}
