//! Entities of several hosts: who serves which shard, and how requests find their way.

use std::collections::HashSet;
use std::sync::OnceLock;

use async_trait::async_trait;
use steward_storage::Txn;

use super::*;
use crate::lease::{Lease, LeaseError};

/// Which shards a host serves, as the test says.
#[derive(Debug, Clone, Default)]
struct Served(Arc<Mutex<HashSet<u32>>>);

#[async_trait]
impl Lease for Served {
    fn holds(&self, shard: u32) -> bool {
        self.0.lock().contains(&shard)
    }

    async fn check(&self, _txn: &Txn, _shard: u32) -> Result<(), LeaseError> {
        Ok(())
    }
}

/// The way to one other host.
#[derive(Debug, Default)]
struct Way {
    here: Served,
    other: OnceLock<Host>,
    told: Mutex<Vec<RemoteRequest>>,
}

#[async_trait]
impl Router for Way {
    fn is_here(&self, shard: u32) -> bool {
        self.here.holds(shard)
    }

    async fn ask(&self, request: RemoteRequest, deadline: Deadline) -> Result<Routed, AskError> {
        let other = self.other.get().unwrap();
        // Over a real link it goes as bytes.
        let bytes = serde_json::to_vec(&request).unwrap();
        match other.receive(serde_json::from_slice(&bytes).unwrap(), deadline).await {
            Ok(answer) => Ok(Routed::Answer(answer)),
            Err(AskJsonError::Ask(error)) => Err(error),
            Err(error) => panic!("{error}"),
        }
    }

    fn tell(&self, request: RemoteRequest) -> Result<(), AskError> {
        self.told.lock().push(request);
        Ok(())
    }
}

/// Two hosts that know each other; the first serves nothing, the second everything.
async fn pair() -> ([Host; 2], [World; 2], [Served; 2], [Arc<Way>; 2]) {
    let served = [Served::default(), Served::default()];
    served[1].0.lock().extend(0..steward_types::limits::SHARDS);
    let ways = [0, 1].map(|node: usize| Arc::new(Way { here: served[node].clone(), ..Way::default() }));
    let worlds = [World::new(), World::new()];
    let mut hosts = Vec::new();
    for node in 0..2 {
        let builder = HostBuilder::new(Arc::new(SystemClock::new()), Arc::new(served[node].clone()));
        let builder = builder.limits(quick()).router(Arc::clone(&ways[node]) as _);
        hosts.push(builder.register::<Probe>(worlds[node].clone()).start().await.unwrap());
    }
    let hosts: [Host; 2] = hosts.try_into().unwrap();
    ways[0].other.set(hosts[1].clone()).unwrap();
    ways[1].other.set(hosts[0].clone()).unwrap();
    (hosts, worlds, served, ways)
}

#[tokio::test]
async fn a_request_is_handled_where_its_shard_is_served() {
    let (hosts, worlds, _served, ways) = pair().await;
    assert_eq!(ask(&hosts[0], "a", Order::Add(2)).await, Ok(2));
    assert_eq!(ask(&hosts[1], "a", Order::Add(1)).await, Ok(3));
    assert_eq!((worlds[0].activations(), worlds[1].activations()), (0, 1));
    hosts[0].tell::<Probe>(&id("a"), Order::Add(1)).unwrap();
    let told = std::mem::take(&mut *ways[0].told.lock());
    assert_eq!((told.len(), told[0].kind.as_str(), told[0].idempotent), (1, "probe", false));
}

#[tokio::test]
async fn the_fault_of_a_remote_entity_is_its_askers_error() {
    let (hosts, _worlds, _served, _ways) = pair().await;
    let error = ask(&hosts[0], "a", Order::Fail(Weakness::Poison)).await.unwrap_err();
    assert!(matches!(error, AskError::Poison { .. }), "{error}");
    assert_eq!(hosts[1].dead_letters(10).len(), 1);
}

#[tokio::test]
async fn a_host_activates_nothing_of_a_shard_that_it_does_not_serve() {
    let (hosts, worlds, _served, _ways) = pair().await;
    let shard = hosts[0].lease().shard_of("probe", &id("a"));
    let order = serde_json::to_vec(&Order::Add(1)).unwrap().into();
    let (kind, id) = ("probe".to_owned(), id("a"));
    let stray = RemoteRequest { shard, kind, id, payload: order, from_inside: false, idempotent: true };
    let refused = hosts[0].receive(stray, hosts[0].deadline_default()).await.unwrap_err();
    assert!(matches!(refused, AskJsonError::Ask(AskError::Elsewhere { shard: found }) if found == shard), "{refused}");
    assert_eq!(worlds[0].activations(), 0);
}

#[tokio::test]
async fn a_shard_is_released_once_its_entities_have_finished() {
    let (hosts, worlds, served, _ways) = pair().await;
    let shard = hosts[1].lease().shard_of("probe", &id("a"));
    let other =
        (0..).map(|n| n.to_string()).find(|name| hosts[1].lease().shard_of("probe", &id(name)) != shard).unwrap();
    assert_eq!(ask(&hosts[1], &other, Order::Add(1)).await, Ok(1));
    let held = asking(&hosts[1], "a", Order::Hold);
    worlds[1].entered().await;
    served[1].0.lock().remove(&shard);
    let host = hosts[1].clone();
    let mut releasing = tokio::task::JoinSet::new();
    releasing.spawn(async move { host.release_shard(shard, host.deadline_default()).await });
    assert!(releasing.try_join_next().is_none(), "what is in hand is finished first");
    worlds[1].gate.add_permits(1);
    assert_eq!(answer(held).await, Ok(0));
    assert_eq!(releasing.join_next().await.unwrap().unwrap(), 0);
    assert_eq!(state(&hosts[1], "a").await, EntityState::Resting);
    assert_eq!(state(&hosts[1], &other).await, EntityState::Active, "other shards go on");
}

#[tokio::test]
async fn what_does_not_finish_before_the_deadline_is_cut_off() {
    let (hosts, worlds, served, _ways) = pair().await;
    let shard = hosts[1].lease().shard_of("probe", &id("a"));
    let held = asking(&hosts[1], "a", Order::Hold);
    worlds[1].entered().await;
    served[1].0.lock().remove(&shard);
    assert_eq!(hosts[1].release_shard(shard, hosts[1].deadline(Duration::from_millis(5))).await, 1);
    assert!(answer(held).await.is_err());
    eventually("the entity is gone", || hosts[1].live_entities() == 0).await;
}

#[tokio::test]
async fn entities_of_lost_shards_end_at_once() {
    let (hosts, worlds, served, _ways) = pair().await;
    let held = asking(&hosts[1], "a", Order::Hold);
    worlds[1].entered().await;
    let lost = std::mem::take(&mut *served[1].0.lock());
    assert_eq!(hosts[1].stop_shards(&lost), 1);
    assert!(answer(held).await.is_err());
    eventually("the entity is gone", || hosts[1].live_entities() == 0).await;
}
