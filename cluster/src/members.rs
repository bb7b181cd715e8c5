//! The members of the cluster as the façade sees them: the membership's view, changes of it, and questions to other
//! nodes over the links.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use steward_actors::audit::AuditEntry;
use steward_actors::service::{
    ClusterChange, Failure, Member, MemberState, Members, NodeAnswer, NodeQuery, ShardPlace, unknown_node,
};
use steward_types::{ErrorCode, NodeId, Timestamp};
use tokio::sync::watch;

use crate::link::{CallError, Lane, LinkIdentity, Links, PeerAddress, Refusal};
use crate::member::cluster::WeakCluster;
use crate::member::{Cluster, ClusterError, MemberSnapshot, NodeState};
use crate::route::resolve;

/// The kind of call that carries a question to a node.
pub(crate) const NODE_CALL: u16 = 4;
/// The code of a refusal whose message is a [`Refused`] in JSON.
const NODE_REFUSED: u16 = 2;

/// The members, seen from one of them.
pub(crate) struct ClusterMembers {
    /// Weak, because the façade outlives the seat and must not keep its tasks alive.
    cluster: WeakCluster,
    links: Links,
    identity: watch::Receiver<Arc<LinkIdentity>>,
    this: NodeId,
}

/// A failure on its way back over a link.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Refused {
    code: ErrorCode,
    message: String,
}

impl ClusterMembers {
    pub(crate) fn new(cluster: &Cluster, links: Links, identity: watch::Receiver<Arc<LinkIdentity>>) -> Self {
        Self { cluster: cluster.downgrade(), links, identity, this: cluster.id() }
    }

    fn cluster(&self) -> Result<Cluster, Failure> {
        let gone = || Failure::new(ErrorCode::NodeDraining, "this node has left its cluster");
        self.cluster.upgrade().ok_or_else(gone)
    }
}

#[async_trait]
impl Members for ClusterMembers {
    fn this(&self) -> NodeId {
        self.this
    }

    fn all(&self) -> Vec<Member> {
        self.cluster().map(|cluster| cluster.members().into_iter().map(member).collect()).unwrap_or_default()
    }

    fn shards(&self) -> Vec<ShardPlace> {
        let Ok(cluster) = self.cluster() else { return Vec::new() };
        let place = |shard: crate::member::ShardSnapshot| ShardPlace {
            shard: shard.shard,
            owner: shard.owner,
            epoch: shard.epoch,
            target: shard.target,
            pinned: shard.pinned,
        };
        cluster.shards().into_iter().map(place).collect()
    }

    fn certificate_ends(&self) -> Option<Timestamp> {
        self.identity.borrow().ends()
    }

    async fn ask(&self, node: NodeId, query: &NodeQuery, time: Duration) -> Result<NodeAnswer, Failure> {
        let members = self.cluster()?.members();
        let found = members.into_iter().find(|member| member.node.id == node).ok_or_else(|| unknown_node(node))?;
        let unreachable = |cause: String| {
            Failure::new(ErrorCode::NodeUnreachable, format!("{node} does not answer: {cause}")).with("node", node)
        };
        let text = &found.node.link_address;
        let address = resolve(text).await.ok_or_else(|| unreachable(format!("its address {text:?} leads nowhere")))?;
        let lane = if query.is_urgent() { Lane::Control } else { Lane::Data };
        let body = serde_json::to_vec(query).map(Bytes::from).map_err(|error| internal(&error))?;
        match self.links.call(&PeerAddress { node, address }, lane, NODE_CALL, body, time).await {
            Ok(answer) => serde_json::from_slice(&answer).map_err(|error| internal(&error)),
            Err(CallError::Refused { code: NODE_REFUSED, message, .. }) => {
                Err(match serde_json::from_slice(&message) {
                    Ok(Refused { code, message }) => Failure::new(code, message).with("node", node),
                    Err(error) => internal(&error),
                })
            }
            Err(CallError::Refused { .. }) => Err(unreachable("its release does not know the question".to_owned())),
            Err(error) => Err(unreachable(error.to_string())),
        }
    }

    async fn change(&self, change: ClusterChange, entry: &AuditEntry) -> Result<(), Failure> {
        Ok(self.cluster()?.change(change, Some(entry)).await.map_err(failure)?)
    }

    async fn drain(&self, within: Duration) -> Result<(), Failure> {
        let cluster = self.cluster()?;
        cluster.drain(within).await.map_err(failure)
    }

    async fn undrain(&self) -> Result<(), Failure> {
        let cluster = self.cluster()?;
        cluster.undrain().await.map_err(failure)
    }
}

impl fmt::Debug for ClusterMembers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterMembers").field("this", &self.this).finish_non_exhaustive()
    }
}

/// What a node answers over a link.
pub(crate) fn reply(answer: Result<NodeAnswer, Failure>) -> Result<Bytes, Refusal> {
    let answer = answer.and_then(|answer| serde_json::to_vec(&answer).map_err(|error| internal(&error)));
    answer.map(Bytes::from).map_err(|failure| {
        let refused = Refused { code: failure.code, message: failure.message };
        Refusal::Refused { code: NODE_REFUSED, message: serde_json::to_vec(&refused).unwrap_or_default().into() }
    })
}

fn internal(error: &serde_json::Error) -> Failure {
    Failure::new(ErrorCode::Internal, format!("a node's question or answer can't be read or written: {error}"))
}

fn failure(error: ClusterError) -> Failure {
    let message = error.to_string();
    let code = match error {
        ClusterError::Store(error) => return error.into(),
        ClusterError::UnknownNode(node) => return unknown_node(node),
        ClusterError::UnknownShard { .. } => return Failure::field("shard", message),
        ClusterError::OtherShards { .. } => return Failure::field("shards", message),
        ClusterError::NotUp { .. } => ErrorCode::NodeNotUp,
        ClusterError::Alone => ErrorCode::NodeAlone,
        ClusterError::DrainTimeout { .. } => ErrorCode::DeadlineExceeded,
        ClusterError::Replaced => ErrorCode::LeaseLost,
    };
    Failure::new(code, message)
}

fn member(found: MemberSnapshot) -> Member {
    let MemberSnapshot { node, shards, shards_planned, .. } = found;
    let count = |shards: usize| u32::try_from(shards).unwrap_or(u32::MAX);
    Member {
        id: node.id,
        state: match node.state {
            NodeState::Joining => MemberState::Joining,
            NodeState::Up => MemberState::Up,
            NodeState::Draining => MemberState::Draining,
            NodeState::Left => MemberState::Left,
            NodeState::Down => MemberState::Down,
        },
        link_address: node.link_address,
        api_address: node.api_address,
        zone: node.zone,
        weight: node.weight,
        version: node.version,
        joined: node.joined_at,
        changed: node.changed_at,
        shards: count(shards),
        shards_planned: count(shards_planned),
    }
}
