//! No order of calls spends more than a cap, and every refusal says what would have been allowed.

use std::collections::BTreeMap;

use proptest::prelude::*;
use steward_scripting::manifest::{Caps, SpendingRules};
use steward_types::{Amount, ErrorCode, Micros, Timestamp};

use super::*;
use crate::budget::Day;

const TOKEN: &str = "0xAa";

fn caps(max_per_transaction: u64, max_per_day: u64, approve_above: Option<u64>) -> Caps {
    Caps {
        max_per_transaction: max_per_transaction.into(),
        max_per_day: max_per_day.into(),
        approve_above: approve_above.map(Amount::from),
    }
}

fn rules(pay: &[&str], call: &[&str], coin: Caps, token: Option<Caps>) -> SpendingRules {
    let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
    let assets = token.map(|caps| (TOKEN.to_owned(), caps)).into_iter().collect();
    SpendingRules { pay: owned(pay), call: owned(call), coin, assets }
}

fn pay(to: &str, asset: Option<&str>, amount: u64) -> Spend {
    Spend { act: Act::Pay { to: to.to_owned() }, asset: asset.map(str::to_owned), amount: amount.into() }
}

fn time(day: u64) -> Timestamp {
    Timestamp::from_millis(day * 86_400_000 + 5)
}

#[test]
fn the_narrower_of_both_sides_holds() {
    let policy = Policy {
        agent: rules(&["a", "b"], &["c:f()"], caps(100, 500, Some(50)), None),
        operator: rules(&["*"], &["c:*"], caps(80, 300, None), Some(caps(9, 9, None))),
    };
    let check = |spend: &Spend, spent: (u64, u64), expected: Result<Verdict, ErrorCode>| {
        let spent = Spent { agent: spent.0.into(), project: spent.1.into() };
        let found = policy.judge(spend, spent, time(3));
        assert_eq!(found.clone().map_err(|refused| refused.code()), expected, "{spend:?} {found:?}");
        found.err()
    };
    let (forbidden, capped) = (Err(ErrorCode::ChainForbidden), Err(ErrorCode::ChainLimitReached));
    check(&pay("a", None, 50), (0, 0), Ok(Verdict::Allowed));
    check(&pay("b", None, 51), (0, 0), Ok(Verdict::Ask));
    check(&pay("c", None, 1), (0, 0), forbidden);
    check(&pay("a", Some(TOKEN), 1), (0, 0), forbidden);
    check(&pay("a", None, 81), (0, 0), capped);
    check(&pay("a", None, 40), (460, 0), Ok(Verdict::Allowed));
    check(&pay("a", None, 41), (460, 0), capped);
    let refused = check(&pay("a", None, 41), (0, 260), capped).unwrap();
    assert!(refused.to_string().contains("260 are spent") && refused.to_string().contains("300"), "{refused}");
    assert_eq!(refused.data()["resets_ms"], 4 * 86_400_000_u64);
    assert_eq!(refused.data()["of"], "operator");
    let call = |method: &str| Spend {
        act: Act::Call { contract: "c".to_owned(), method: method.to_owned() },
        asset: None,
        amount: Amount::ZERO,
    };
    check(&call("f()"), (500, 300), Ok(Verdict::Allowed));
    check(&call("g()"), (0, 0), forbidden);
}

#[test]
fn without_rules_nothing_may_be_spent() {
    let policy = Policy { agent: SpendingRules::default(), operator: SpendingRules::default() };
    assert!(policy.judge(&pay("a", None, 0), Spent::default(), time(0)).is_err());
    let listed = Policy { agent: rules(&["*"], &[], Caps::default(), None), ..policy };
    let listed = Policy { operator: listed.agent.clone(), ..listed };
    assert!(listed.judge(&pay("a", None, 1), Spent::default(), time(0)).is_err());
}

#[test]
fn a_clock_that_steps_back_begins_no_day_twice() {
    let mut tally = Tally::default();
    let (today, yesterday) = (Day::of(time(3)), Day::of(time(2)));
    assert!(tally.count(None, 5.into(), today) && tally.count(None, 6.into(), yesterday));
    assert_eq!((tally.spent(None, today), tally.spent(None, yesterday)), (11.into(), 11.into()));
    assert_eq!(tally.spent(None, Day::of(time(4))), Amount::ZERO);
    assert!(!tally.count(None, Amount::MAX, today) && tally.spent(None, today) == 11.into());
}

#[test]
fn a_fee_is_priced_by_its_ratio_and_rounded_up_once() {
    let price = FeePrice { micros: 3, per: Amount::from(1_000_000_000) };
    let check = |fee: u64, micros: u64| assert_eq!(price.of(fee.into()), Some(Micros::new(micros)), "{fee}");
    check(0, 0);
    check(1, 1);
    check(21_000_000_000_000, 63_000);
    check(21_000_000_000_001, 63_001);
    assert_eq!(price.of(Amount::MAX), None);
    assert_eq!(FeePrice { micros: 1, per: Amount::ZERO }.of(Amount::from(1)), None);
}

proptest! {
    #[test]
    fn never_more_than_a_cap_whatever_the_order_of_calls(
        agents in prop::collection::vec((1_u64..60, 1_u64..200), 1..3),
        operator in (1_u64..60, 1_u64..300),
        calls in prop::collection::vec((0_usize..3, 0_u64..70, any::<bool>(), 0_u64..3), 0..120),
    ) {
        let operator = rules(&["*"], &[], caps(operator.0, operator.1, None), Some(caps(operator.0, operator.1, None)));
        let mut project = Tally::default();
        let mut tallies = vec![Tally::default(); agents.len()];
        let mut paid: BTreeMap<(usize, bool, u64), u64> = BTreeMap::new();
        let mut newest = 0;
        for (agent, amount, is_token, day) in calls {
            let agent = agent % agents.len();
            newest = newest.max(day);
            let day = newest;
            let (most, daily) = agents[agent];
            let own = rules(&["*"], &[], caps(most, daily, None), Some(caps(most, daily, None)));
            let policy = Policy { agent: own, operator: operator.clone() };
            // Capitals are no other token.
            let asset = is_token.then_some(if amount % 2 == 0 { "0xaa" } else { TOKEN });
            let today = Day::of(time(day));
            let spent = Spent { agent: tallies[agent].spent(asset, today), project: project.spent(asset, today) };
            if policy.judge(&pay("x", asset, amount), spent, time(day)).is_err() {
                continue;
            }
            prop_assert!(amount <= most && amount <= operator.coin.max_per_transaction.units() as u64);
            prop_assert!(tallies[agent].count(asset, amount.into(), today) && project.count(asset, amount.into(), today));
            *paid.entry((agent, is_token, day)).or_default() += amount;
        }
        for (&(agent, is_token, day), &sum) in &paid {
            prop_assert!(sum <= agents[agent].1);
            let all: u64 = paid.iter().filter(|((_, token, of), _)| (*token, *of) == (is_token, day)).map(|(_, sum)| sum).sum();
            prop_assert!(u128::from(all) <= operator.coin.max_per_day.units());
        }
    }
}
