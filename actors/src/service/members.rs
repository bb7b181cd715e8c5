//! The nodes of a cluster, as one of them knows them: a port, like the router and the lease. A node that is alone has
//! itself.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use steward_types::{ErrorCode, NodeId, Timestamp};

use super::Failure;
use super::query::{NodeAnswer, NodeQuery};
use crate::audit::AuditEntry;

/// Looks at the cluster, asks its nodes, and changes it.
#[async_trait]
pub trait Members: Send + Sync + fmt::Debug + 'static {
    /// This node.
    fn this(&self) -> NodeId;

    /// Every node that the cluster knows of, those that are gone included, by id.
    fn all(&self) -> Vec<Member>;

    /// Every shard, by number, as this node last read them.
    fn shards(&self) -> Vec<ShardPlace>;

    /// When this node's certificate for other nodes ends; none where it has none.
    fn certificate_ends(&self) -> Option<Timestamp>;

    /// Asks another node.
    ///
    /// # Errors
    /// [`ErrorCode::NodeNotFound`], [`ErrorCode::NodeUnreachable`], or what the node answered. Dropping the future
    /// leaves open whether the node does what it was asked.
    async fn ask(&self, node: NodeId, query: &NodeQuery, time: Duration) -> Result<NodeAnswer, Failure>;

    /// Changes the cluster, and writes `entry` in the same transaction.
    ///
    /// # Errors
    /// [`ErrorCode::NodeNotFound`], [`ErrorCode::NodeNotUp`], [`ErrorCode::NodeAlone`], or the store's.
    async fn change(&self, change: ClusterChange, entry: &AuditEntry) -> Result<(), Failure>;

    /// Hands every shard of this node to others, and takes none until [`undrain`](Self::undrain).
    ///
    /// # Errors
    /// [`ErrorCode::NodeAlone`] and [`ErrorCode::DeadlineExceeded`] leave it draining, and so does dropping the future.
    async fn drain(&self, within: Duration) -> Result<(), Failure>;

    /// Takes shards again.
    ///
    /// # Errors
    /// The store's.
    async fn undrain(&self) -> Result<(), Failure>;
}

/// A change of the cluster that is one transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClusterChange {
    /// Puts a shard on a node for as long as that is up, or leaves it to the placement again.
    Place {
        /// The shard.
        shard: u32,
        /// The node; none for wherever the placement wants it.
        on: Option<NodeId>,
    },
    /// Takes a node for dead without waiting for its silence.
    Evict(NodeId),
}

/// What a node is in its cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemberState {
    /// It is there and gets no shards yet.
    Joining,
    /// It takes its share.
    Up,
    /// It gives its shards away and gets no new ones.
    Draining,
    /// It went in order.
    Left,
    /// It was silent, or an operator said so.
    Down,
}

impl MemberState {
    /// Whether the node can be asked.
    pub const fn is_alive(self) -> bool {
        matches!(self, Self::Joining | Self::Up | Self::Draining)
    }

    /// As people read it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Joining => "joining",
            Self::Up => "up",
            Self::Draining => "draining",
            Self::Left => "left",
            Self::Down => "down",
        }
    }
}

/// A node of the cluster and what it carries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The node.
    pub id: NodeId,
    /// What it is.
    pub state: MemberState,
    /// Where other nodes reach it.
    pub link_address: String,
    /// Where clients reach it.
    pub api_address: String,
    /// What fails together with it.
    pub zone: String,
    /// Its share of the shards compared with others'.
    pub weight: u32,
    /// The release that it runs.
    pub version: String,
    /// When it joined, by its own clock.
    pub joined: Timestamp,
    /// When its state last changed.
    pub changed: Timestamp,
    /// Shards that it owns.
    pub shards: u32,
    /// Shards that it should own.
    pub shards_planned: u32,
}

/// A shard and whose it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardPlace {
    /// Its number.
    pub shard: u32,
    /// Who owns it; nobody while its owner is gone and no other has taken it.
    pub owner: Option<NodeId>,
    /// How often it has changed hands.
    pub epoch: u64,
    /// Where it should be.
    pub target: Option<NodeId>,
    /// Where an operator put it.
    pub pinned: Option<NodeId>,
}

/// The only node on its store. It has no id, which shows as zeros.
#[derive(Debug, Clone)]
pub struct Alone {
    shards: u32,
    started: Timestamp,
}

impl Alone {
    /// A node that has started now and serves every shard.
    pub const fn new(shards: u32, started: Timestamp) -> Self {
        Self { shards, started }
    }

    const ID: NodeId = NodeId::from_bytes([0; 16]);
}

fn alone() -> Failure {
    Failure::new(ErrorCode::NodeAlone, "this node is alone on its store: no other node could take its shards")
}

#[async_trait]
impl Members for Alone {
    fn this(&self) -> NodeId {
        Self::ID
    }

    fn all(&self) -> Vec<Member> {
        vec![Member {
            id: Self::ID,
            state: MemberState::Up,
            link_address: String::new(),
            api_address: String::new(),
            zone: String::new(),
            weight: 1,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            joined: self.started,
            changed: self.started,
            shards: self.shards,
            shards_planned: self.shards,
        }]
    }

    fn shards(&self) -> Vec<ShardPlace> {
        let place = |shard| ShardPlace { shard, owner: Some(Self::ID), epoch: 0, target: Some(Self::ID), pinned: None };
        (0..self.shards).map(place).collect()
    }

    fn certificate_ends(&self) -> Option<Timestamp> {
        None
    }

    async fn ask(&self, node: NodeId, _query: &NodeQuery, _time: Duration) -> Result<NodeAnswer, Failure> {
        Err(unknown_node(node))
    }

    async fn change(&self, change: ClusterChange, _entry: &AuditEntry) -> Result<(), Failure> {
        match change {
            ClusterChange::Evict(node) if node != Self::ID => Err(unknown_node(node)),
            ClusterChange::Place { shard, .. } if shard >= self.shards => {
                let last = self.shards.saturating_sub(1);
                Err(Failure::field("shard", format!("there is no shard {shard}: they are numbered from 0 to {last}")))
            }
            ClusterChange::Evict(_) | ClusterChange::Place { .. } => Err(alone()),
        }
    }

    async fn drain(&self, _within: Duration) -> Result<(), Failure> {
        Err(alone())
    }

    async fn undrain(&self) -> Result<(), Failure> {
        Ok(())
    }
}

/// What is said of a node that is no member.
pub fn unknown_node(node: NodeId) -> Failure {
    Failure::new(ErrorCode::NodeNotFound, format!("{node} is no member of this cluster")).with("node", node)
}
