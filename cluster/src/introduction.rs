//! Joining by a member's address: a node that knows its identity and one member asks that member where the cluster keeps
//! its state. The answer comes over a link, so only from a node of the same authority to a node of the same authority.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use steward_types::limits::INTRODUCTION_TIME_MAX;
use steward_types::{Clock, Entropy, NodeId};
use thiserror::Error;
use tokio::sync::watch;

use crate::link::{
    CallError, IdentifyError, Inbound, Lane, LinkConfig, LinkError, LinkIdentity, Links, PeerAddress, Refusal, identify,
};
use crate::route::resolve;

/// The kind of call that asks for an introduction. It has no payload.
pub(crate) const INTRODUCTION_CALL: u16 = 3;
/// The code of a refusal by a node that introduces nobody.
pub(crate) const NO_INTRODUCTION: u16 = 3;

/// What a member tells a node that wants to join.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Introduction {
    /// The member.
    pub member: NodeId,
    /// The release that it runs.
    pub release: String,
    /// How many shards the cluster has.
    pub shards: u32,
    /// Where the cluster keeps its state.
    pub store: StoreLocator,
}

/// Where a cluster keeps its state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StoreLocator {
    /// A served store.
    Served {
        /// Where it listens.
        address: String,
    },
    /// FoundationDB.
    FoundationDb {
        /// What stands in its cluster file.
        cluster_file: String,
    },
}

/// Makes introductions: called for each node that asks, since coordinators of a store may change.
pub type Introduce = Box<dyn Fn() -> Introduction + Send + Sync>;

/// Why a member did not introduce this node.
#[derive(Debug, Error)]
pub enum IntroductionError {
    /// The address is none.
    #[error("the member's address {member:?} leads nowhere: give HOST:PORT")]
    Nowhere {
        /// As it was given.
        member: String,
    },
    /// Nobody answers there.
    #[error("the member at {member} cannot be reached: {reason}")]
    Unreachable {
        /// Its address.
        member: String,
        /// What stood in the way.
        reason: String,
    },
    /// It is of another cluster.
    #[error("the node at {member} is of another cluster: this node's ca.pem does not vouch for it ({reason})")]
    WrongCluster {
        /// Its address.
        member: String,
        /// What TLS says.
        reason: String,
    },
    /// It does not know this node's authority, or the certificate ran out.
    #[error(
        "the member at {member} does not accept this node's certificate ({reason}); issue one with `steward cluster issue` \
         from the cluster's authority"
    )]
    WrongIdentity {
        /// Its address.
        member: String,
        /// What TLS says.
        reason: String,
    },
    /// The releases are too far apart, or the member introduces nobody.
    #[error("the member at {member} does not introduce this node: {reason}")]
    Refused {
        /// Its address.
        member: String,
        /// Why.
        reason: String,
    },
    /// This node could not speak at all.
    #[error("this node could not start its links")]
    Link(#[from] LinkError),
}

/// Asks the member at `member` (HOST:PORT of its links) for an introduction.
///
/// # Errors
/// See [`IntroductionError`]. Dropping the future is safe.
pub async fn introduction(
    member: &str,
    identity: watch::Receiver<Arc<LinkIdentity>>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
) -> Result<Introduction, IntroductionError> {
    let named = || member.to_owned();
    let address = resolve(member).await.ok_or_else(|| IntroductionError::Nowhere { member: named() })?;
    let own = Arc::clone(&identity.borrow());
    let identified = tokio::select! {
        identified = identify(address, &own) => identified,
        () = clock.sleep(INTRODUCTION_TIME_MAX) => Err(IdentifyError::Broken("it does not answer".to_owned())),
    };
    let node = identified.map_err(|error| match error {
        IdentifyError::Broken(reason) => IntroductionError::Unreachable { member: named(), reason },
        IdentifyError::Untrusted(reason) => IntroductionError::WrongCluster { member: named(), reason },
    })?;
    // Links of its own, for this one call: the node is nobody's member yet.
    let config = LinkConfig::new(([127, 0, 0, 1], 0).into(), identity);
    let links = Links::start(config, Arc::new(Nobody), clock, entropy).await?;
    let peer = PeerAddress { node, address };
    let asked = links.call(&peer, Lane::Control, INTRODUCTION_CALL, Bytes::new(), INTRODUCTION_TIME_MAX).await;
    links.stop().await;
    let answer = asked.map_err(|error| not_introduced(member, error))?;
    let unreadable =
        |error: serde_json::Error| IntroductionError::Refused { member: named(), reason: error.to_string() };
    serde_json::from_slice(&answer).map_err(unreadable)
}

fn not_introduced(member: &str, error: CallError) -> IntroductionError {
    let member = member.to_owned();
    match error {
        CallError::Unreachable { reason, .. } if reason.starts_with("TLS") => {
            IntroductionError::WrongIdentity { member, reason }
        }
        CallError::Unreachable { reason, .. } => IntroductionError::Unreachable { member, reason },
        CallError::Refused { message, .. } => {
            IntroductionError::Refused { member, reason: String::from_utf8_lossy(&message).into_owned() }
        }
        other => IntroductionError::Refused { member, reason: other.to_string() },
    }
}

/// The answer to a node that asks, or a refusal where the node introduces nobody.
pub(crate) fn introduce(introduce: Option<&Introduce>) -> Result<Bytes, Refusal> {
    let refuse = |message: String| Refusal::Refused { code: NO_INTRODUCTION, message: message.into() };
    let introduce = introduce.ok_or_else(|| refuse("it is not a member yet".to_owned()))?;
    serde_json::to_vec(&introduce()).map(Bytes::from).map_err(|error| refuse(error.to_string()))
}

/// Answers nothing.
struct Nobody;

#[async_trait]
impl Inbound for Nobody {
    async fn on_call(&self, _: &NodeId, _: u16, _: Bytes, _: Duration) -> Result<Bytes, Refusal> {
        Err(Refusal::Refused { code: NO_INTRODUCTION, message: "this node is not a member yet".into() })
    }
}

impl fmt::Debug for Nobody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Nobody")
    }
}

#[cfg(test)]
mod tests {
    use steward_types::{SystemClock, SystemEntropy};

    use super::*;
    use crate::link::{ClusterAuthority, Versions};

    /// Introduces to whoever asks.
    struct Member(Option<Introduce>);

    #[async_trait]
    impl Inbound for Member {
        async fn on_call(&self, _: &NodeId, kind: u16, _: Bytes, _: Duration) -> Result<Bytes, Refusal> {
            assert_eq!(kind, INTRODUCTION_CALL);
            introduce(self.0.as_ref())
        }
    }

    fn identity(authority: &ClusterAuthority, node: u8, trusted: &str) -> watch::Receiver<Arc<LinkIdentity>> {
        let node = NodeId::from_bytes([node; 16]);
        let issued = authority.issue(&node, Duration::from_secs(3_600), SystemClock::new().now()).unwrap();
        let identity = LinkIdentity::from_pem(trusted, &issued.certificate_pem, &issued.key_pem).unwrap();
        watch::channel(Arc::new(identity)).1
    }

    fn authority() -> ClusterAuthority {
        ClusterAuthority::create(SystemClock::new().now()).unwrap()
    }

    fn told() -> Introduction {
        let store = StoreLocator::Served { address: "127.0.0.1:7702".to_owned() };
        Introduction { member: NodeId::from_bytes([1; 16]), release: "0.1.0".to_owned(), shards: 1_024, store }
    }

    async fn member(authority: &ClusterAuthority, introduce: Option<Introduce>, oldest: u16) -> Links {
        let mut config =
            LinkConfig::new(([127, 0, 0, 1], 0).into(), identity(authority, 1, authority.certificate_pem()));
        config.versions = Versions { oldest, newest: oldest };
        let (clock, entropy) = (Arc::new(SystemClock::new()), Arc::new(SystemEntropy));
        Links::start(config, Arc::new(Member(introduce)), clock, entropy).await.unwrap()
    }

    async fn ask(
        address: &str,
        identity: watch::Receiver<Arc<LinkIdentity>>,
    ) -> Result<Introduction, IntroductionError> {
        introduction(address, identity, Arc::new(SystemClock::new()), Arc::new(SystemEntropy)).await
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_member_tells_a_node_of_its_cluster_where_the_state_is_and_nobody_else() {
        let (ours, theirs) = (authority(), authority());
        let links = member(&ours, Some(Box::new(told)), 1).await;
        let address = links.address().to_string();
        let joining = ask(&address, identity(&ours, 2, ours.certificate_pem())).await;
        assert_eq!(joining.unwrap(), told());
        let check = async |address: &str, own: watch::Receiver<Arc<LinkIdentity>>, expected: &str| {
            let error = ask(address, own).await.unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        check(&address, identity(&theirs, 2, theirs.certificate_pem()), "is of another cluster").await;
        check(&address, identity(&theirs, 2, ours.certificate_pem()), "does not accept this node's certificate").await;
        check("127.0.0.1:1", identity(&ours, 2, ours.certificate_pem()), "127.0.0.1:1 cannot be reached").await;
        check("nowhere", identity(&ours, 2, ours.certificate_pem()), "leads nowhere").await;
        links.stop().await;
        let early = member(&ours, None, 1).await;
        check(&early.address().to_string(), identity(&ours, 2, ours.certificate_pem()), "it is not a member yet").await;
        let newer = member(&ours, Some(Box::new(told)), 7).await;
        check(&newer.address().to_string(), identity(&ours, 2, ours.certificate_pem()), "versions 7 to 7").await;
    }
}
