//! After the faults: everything goes on, soon.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use futures::{StreamExt as _, TryStreamExt as _};
use steward::client::Client;
use steward_actors::host::EntityId;
use steward_actors::lease::shard_of;
use steward_api::proto::v1;
use steward_types::limits::SHARDS;
use steward_types::{Clock as _, SessionId, SystemClock, SystemEntropy};

use crate::nemesis::Faults;
use crate::pulse::Healed;
use crate::workload::{Clients, retry};

/// Shards that are asked at a time.
const ASKED_AT_ONCE: usize = 32;

/// Asks an entity of every shard, each through one node or another, and returns how long the slowest took to answer.
///
/// # Errors
/// When one does not answer, however often it is asked.
pub async fn every_shard_answers(roots: &[Client]) -> anyhow::Result<Duration> {
    let asks = ids_of_all_shards()?.into_iter().map(|(shard, id)| async move {
        let ask = v1::AskActorRequest {
            kind: "session".to_owned(),
            id,
            request: Some(v1::Payload { r#type: String::new(), json: "\"Show\"".to_owned() }),
        };
        let clients = Clients::new(roots.to_vec(), shard as usize);
        let clock = SystemClock::new();
        let answer = retry(&clients, |client| {
            let ask = ask.clone();
            async move { client.actors().ask(ask).await }
        });
        answer.await.with_context(|| format!("shard {shard}"))?;
        anyhow::Ok(clock.monotonic())
    });
    let asks: Vec<_> = asks.collect();
    let took: Vec<Duration> = futures::stream::iter(asks).buffer_unordered(ASKED_AT_ONCE).try_collect().await?;
    took.into_iter().max().context("there are shards")
}

/// An id of a session that does not exist, for each shard.
fn ids_of_all_shards() -> anyhow::Result<BTreeMap<u32, String>> {
    let mut ids = BTreeMap::new();
    while ids.len() < SHARDS as usize {
        let id = SessionId::generate(&SystemClock::new(), &SystemEntropy).to_string();
        ids.entry(shard_of("session", &EntityId::new(&id)?, SHARDS)).or_insert(id);
    }
    Ok(ids)
}

/// What did not go on within this time after the faults.
pub fn findings(faults: &Faults, shards: Option<Duration>, within: Duration) -> Vec<String> {
    let late = faults.healed.iter().filter(|healed| healed.took > within);
    let late =
        late.map(|Healed { took, last }| format!("{last} went on only {:.1} s after the faults", took.as_secs_f64()));
    let shards = shards.filter(|took| *took > within);
    let shards = shards.map(|took| format!("a shard answered only {:.1} s after it was asked", took.as_secs_f64()));
    let never = faults.unhealed.iter().map(|who| format!("{who} did not go on after the faults"));
    late.chain(shards).chain(never).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_an_id_for_every_shard() {
        let ids = ids_of_all_shards().unwrap();
        assert_eq!(ids.keys().copied().collect::<Vec<_>>(), (0..SHARDS).collect::<Vec<_>>());
    }

    #[test]
    fn what_heals_late_or_not_is_a_finding() {
        let healed = |seconds| vec![Healed { took: Duration::from_secs(seconds), last: "session-2".to_owned() }];
        let faults = Faults { healed: healed(3), ..Faults::default() };
        let within = Duration::from_secs(10);
        assert!(findings(&faults, Some(Duration::from_secs(2)), within).is_empty());
        assert_eq!(findings(&faults, Some(Duration::from_secs(11)), within).len(), 1);
        let faults = Faults { healed: healed(12), unhealed: vec!["session-1".to_owned()], ..Faults::default() };
        assert_eq!(findings(&faults, None, within).len(), 2);
    }
}
